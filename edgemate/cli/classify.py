"""`edgemate classify`: images → labels, each from the earliest exit that will do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgemate.cli.console import make_console, print_table
from edgemate.cli.progress import Quiet, showing_progress
from edgemate.cli.screen import print_json, say
from edgemate.cli.trust import TrustedKeys, TrustEngines
from edgemate.wording import counted

if TYPE_CHECKING:
    from edgemate.api import Answer
    from edgemate.runtime import Prediction


def classify(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, and folders to search for them.")],
    policy: Annotated[str | None, typer.Option(help="Operating point of the bundle, such as balanced.")] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Stop where the probability is above this, 0 to 1.", show_default=False),
    ] = None,
    exit: Annotated[int | None, typer.Option(help="Always stop at this exit, counted from 1.")] = None,
    deadline_ms: Annotated[
        float | None,
        typer.Option(help="Stop where the next segment would end later; alone or with one of the above."),
    ] = None,
    backend: Annotated[str, typer.Option(help="Backend: onnxruntime, tensorrt, tensorrt_rtx.")] = "onnxruntime",
    threads: Annotated[int | None, typer.Option(help="CPU threads; all usable cores if absent.")] = None,
    trusted_keys: TrustedKeys = None,
    trust_engines: TrustEngines = False,
    on_failure: Annotated[
        str, typer.Option(help="raise, or degrade: answer with an earlier exit where a segment fails.")
    ] = "raise",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line and image.")] = False,
    quiet: Quiet = False,
) -> None:
    """Label images, and say at which exit each was decided and how long that took.

    Without --policy, --threshold or --exit the whole network runs. The milliseconds are one image's own, network and
    exit policy; reading and preparing it come on top. An image that cannot be read is named, and the exit code is 1.
    Under a deadline the answers that came late are counted; with --json each says if it did.
    """
    from edgemate import api

    with showing_progress(quiet, steps=False) as progress:
        found = api.classify(
            bundle,
            images,
            policy,
            threshold=threshold,
            exit=exit,
            deadline_ms=deadline_ms,
            backend=backend,
            threads=threads,
            trusted_keys=trusted_keys,
            trust_engines=trust_engines,
            on_failure=on_failure,  # type: ignore[arg-type]  # which is checked there
            notify=_print_json if as_json else _print_error,
            progress=progress,
        )
    predictions, statistics = found.predictions, found.statistics
    if not as_json:
        _print_table(predictions, found.exits)
    if statistics.deadlines:  # standard output is the answers' alone with --json
        late = f"{statistics.late} of {counted(statistics.deadlines, 'answer')} came late"
        say(f"deadline {deadline_ms:g} ms: {late}", err=as_json)
    if statistics.degraded:
        say(
            f"warning: {counted(statistics.degraded, 'answer')} came from an earlier exit, as a later one failed",
            err=True,
        )
    if statistics.non_finite:
        say(f"warning: {statistics.non_finite} times the logits of an exit were not finite", err=True)
    if len(predictions) < len(found.answers):
        raise typer.Exit(1)


def _print_json(answer: Answer) -> None:
    print_json(answer.to_json(), indent=None)


def _print_error(answer: Answer) -> None:
    if answer.error is not None:
        say(f"error: {answer.error}", err=True)


def _print_table(answers: list[tuple[Path, Prediction]], exits: int) -> None:
    from rich.table import Table

    if not answers:
        return
    table = Table()
    for column in ("image", "label"):
        table.add_column(column)
    for column in ("probability", "exit", "ms"):
        table.add_column(column, justify="right", no_wrap=True)
    for file, prediction in answers:
        table.add_row(
            str(file),
            "none" if prediction.label is None else prediction.label,
            f"{prediction.probability:.3f}",
            str(prediction.exit),
            f"{prediction.milliseconds:.2f}",
        )
    console = make_console()
    print_table(table, console)
    mean = sum(prediction.milliseconds for _, prediction in answers) / len(answers)
    taken = [prediction.exit for _, prediction in answers]
    fractions = ", ".join(f"exit {k} {100 * taken.count(k) / len(taken):.1f} %" for k in range(1, exits + 1))
    console.out(f"{counted(len(answers), 'image')}, mean {mean:.2f} ms; {fractions}")
