"""The `edgemate` command: what the subcommands are, and how errors reach the user."""

from __future__ import annotations

import contextlib
import errno
import inspect as inspect_module
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from edgemate import __version__
from edgemate.cli.bench import bench
from edgemate.cli.build import build
from edgemate.cli.bundle import bundle
from edgemate.cli.calibrate import calibrate
from edgemate.cli.classify import classify
from edgemate.cli.compare import compare
from edgemate.cli.console import no_styles
from edgemate.cli.data import data
from edgemate.cli.doctor import doctor
from edgemate.cli.ending import end_stopped
from edgemate.cli.evaluate import evaluate
from edgemate.cli.export import export
from edgemate.cli.flags import name_flags
from edgemate.cli.images import images
from edgemate.cli.inspect import inspect
from edgemate.cli.models import models
from edgemate.cli.plan import plan
from edgemate.cli.profile import profile
from edgemate.cli.recipes import recipes
from edgemate.cli.run import run
from edgemate.cli.screen import open_closed_streams, printable, replace_unencodable, say
from edgemate.cli.serve import serve
from edgemate.cli.train import train
from edgemate.distributed.world import STARTED_BY_US
from edgemate.errors import EdgemateError, UsageError
from edgemate.stopping import INTERRUPTED, not_lost, terminable, terminated

# Which extra brings a module that a command may miss.
_EXTRAS = {
    "aiohttp": "serve",
    "bokeh": "report",
    "cryptography": "sign",
    "fvcore": "train",
    "jinja2": "report",
    "lightning": "train",
    "matplotlib": "train",
    "onnx": "export",
    "onnxruntime": "ort",
    "onnxscript": "export",
    "optuna": "tune",
    "prometheus_client": "serve",
    "ray": "cluster",
    "safetensors": "train",
    "sklearn": "train",
    "torch": "train",
    "torchvision": "train",
}

_LONGEST = 2000
"""Characters of a line of an error."""
_READABLE_OR_WRITABLE = "name one that can be read, or a place that can be written to"


@contextlib.contextmanager
def _usage_in_one_line() -> Iterator[None]:
    """Typer prints wrong usage as a box of several lines, which scripts and logs cannot use."""
    try:
        yield
    except Exception as error:
        # Typer brings its own click, whose exceptions have no public name. One of them shows the help.
        context = getattr(error, "ctx", None)
        if not hasattr(error, "format_message") or type(error).__name__ == "NoArgsIsHelpError":
            raise
        where = "edgemate" if context is None else context.command_path
        # An argument may be the name of a file, so the message is escaped.
        message = printable(" ".join(error.format_message().split())).rstrip(".")
        raise UsageError(f"{message}{'' if message.endswith('?') else ';'} `{where} -h` lists what it takes") from None


class _Group(TyperGroup):
    """Commands whose wrong usage is an error like any other."""

    def make_context(self, *given: Any, **options: Any) -> Any:
        with _usage_in_one_line():
            return super().make_context(*given, **options)

    def invoke(self, ctx: Any) -> Any:
        with _usage_in_one_line():
            return super().invoke(ctx)


app = typer.Typer(
    name="edgemate",
    cls=_Group,
    help="Train multi-exit image classifiers, see what every exit costs, and answer from the earliest that will do.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},  # which every command inherits
    pretty_exceptions_enable=False,
    rich_markup_mode=None if no_styles() else "rich",
)
for command in (
    models,
    plan,
    train,
    compare,
    profile,
    export,
    build,
    calibrate,
    evaluate,
    classify,
    serve,
    run,
    bench,
    inspect,
    images,
    doctor,
):
    app.command()(command)
app.add_typer(bundle, name="bundle")
app.add_typer(data, name="data")
app.add_typer(recipes, name="recipes")


def _flow_help(commands: typer.Typer) -> None:
    """Let each paragraph of a help text fill its lines: Typer keeps the line ends of all but the first."""
    for command in commands.registered_commands:
        paragraphs = inspect_module.cleandoc(command.callback.__doc__ or "").split("\n\n") if command.callback else []
        command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    for group in commands.registered_groups:
        if group.typer_instance is not None:
            _flow_help(group.typer_instance)


_flow_help(app)


def main() -> None:
    """Run the command line. What a user can cause ends in one line on standard error and exit code 2."""
    open_closed_streams()
    replace_unencodable()
    if STARTED_BY_US in os.environ:  # which its parent ends, also where a library does not heed signals
        _run()
        return
    with terminable(), not_lost():
        _run()


def _run() -> None:
    try:
        _check_none_empty(sys.argv[1:])
        app()
    except EdgemateError as error:
        command = typer.main.get_command(app)
        _fail(*(name_flags(line, command, sys.argv[1:]) for line in error.lines))
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        _fail(f"this command needs {error.name}, which is not installed: pip install 'edgemate[{extra}]'")
    except (KeyboardInterrupt, SystemExit) as error:
        # 130 is what typer makes of Ctrl-C.
        if isinstance(error, SystemExit) and error.code != INTERRUPTED and not terminated():
            raise
        sys.exit(end_stopped(sys.argv[1:]))
    except RuntimeError as error:
        if str(error).startswith("Symlink loop"):  # of Path.resolve, before Python 3.13
            _fail(f"{str(error).removeprefix('Symlink loop from ')}: is a link that leads back to itself")
        if "can't start new thread" not in str(error):
            raise
        _fail("the system lets no further thread start; end other programs, or raise its limit")
    except BrokenPipeError:  # the reader of a pipe has gone
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        # The system refuses a file that the user named. Without a file it is no such thing, and the trace must be seen,
        # unless the disk is full: libraries do not always say where.
        if error.filename is None and not full:
            if isinstance(error, FileNotFoundError) and not _has_folder():
                _fail("the current folder was deleted; change to another one")
            raise
        where = "" if error.filename is None else f"{error.filename}: "
        advice = "free some space there, or name another place" if full else _READABLE_OR_WRITABLE
        _fail(f"{where}{error.strerror}; {advice}")


def _check_none_empty(arguments: Sequence[str]) -> None:
    """UsageError for an empty argument: as a path it would be the current folder, with whoever's keys and images."""
    for before, argument in zip(("", *arguments), arguments, strict=False):
        name, given, value = argument.partition("=")
        if not argument or (given and not value and name.startswith("--")):
            place = (
                f"{name} is empty"
                if argument
                else f"the argument after {before} is empty"
                if before
                else "an argument is empty"
            )
            raise UsageError(f"{printable(place)}; perhaps a variable of the shell is not set")


def _has_folder() -> bool:
    try:
        return bool(Path.cwd())
    except FileNotFoundError:
        return False


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"edgemate {__version__}")
        raise typer.Exit


@app.callback()
def _edgemate(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version)
    ] = False,
) -> None: ...


def _fail(message: str, *more: str) -> None:
    with contextlib.suppress(OSError):  # standard error may be full too, and the exit code says it all the same
        say(*(_readable(line) for line in (f"error: {message}", *more)), err=True)
    sys.exit(2)


def _readable(line: str) -> str:
    """A line without its middle where it is very long, since a message may repeat what the user gave."""
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} … {line[-_LONGEST // 2 :]}"
