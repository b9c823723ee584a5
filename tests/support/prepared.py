"""Commands in processes that have imported already what a training needs: forks of one process that has.

A process of its own imports for several seconds. Where a test is about a command that is killed, stopped or run again,
and not about how a process starts, it need not.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "__main__",
        "edgemate.cli.main",
        "edgemate.training.trainer",
        "edgemate.exporting.targets.onnx",
        "sklearn.datasets",
    ]
)
"""Where processes are forks of one that has imported these modules."""


class Prepared:
    """A process that has been started.

    Args:
        work: what it does, a function that is importable there, and its arguments.
        cwd: its folder.
        output: folder for what it prints. A named pipe `stdout` in it is left to the caller to read.
    """

    def __init__(self, work: tuple[Callable[..., object], tuple[Any, ...]], cwd: Path, output: Path) -> None:
        self._printed = (output / "stdout", output / "stderr")
        given = (work, str(cwd), dict(os.environ), tuple(map(str, self._printed)))
        self._process = FORKS.Process(target=_begin, args=given)
        self._process.start()

    @property
    def stdout(self) -> Path:
        """Where its standard output is."""
        return self._printed[0]

    def poll(self) -> int | None:
        """Its exit code, negative where a signal has ended it; None while it works."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """End it at once, and wait for that."""
        self._process.kill()
        self._process.join()

    def wait(self, seconds: float) -> tuple[int, str, str]:
        """Its exit code, standard output and standard error, for which it is waited."""
        self._process.join(seconds)
        code = self.poll()
        assert code is not None, f"has not ended within {seconds:.0f} s"
        output, errors = (path.read_text(encoding="utf-8") if path.is_file() else "" for path in self._printed)
        return code, output, errors


@contextmanager
def started(*arguments: object, cwd: Path, piped: bool = False) -> Iterator[Prepared]:
    """`edgemate` with these arguments; it is killed at the end. `piped`: its `stdout` is to be read as it comes."""
    with running(command_line, *map(str, arguments), cwd=cwd, piped=piped) as process:
        yield process


@contextmanager
def running(function: Callable[..., object], *given: Any, cwd: Path, piped: bool = False) -> Iterator[Prepared]:
    """`function(*given)`, which must be importable by its name there; it is killed at the end."""
    with tempfile.TemporaryDirectory() as output:
        if piped:
            os.mkfifo(Path(output) / "stdout")
        process = Prepared((function, given), cwd, Path(output))
        try:
            yield process
        finally:
            process.kill()


def edgemate(*arguments: object, cwd: Path, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    """`edgemate` with these arguments, as `subprocess.run` would give it."""
    with started(*arguments, cwd=cwd) as process:
        return subprocess.CompletedProcess(["edgemate", *map(str, arguments)], *process.wait(seconds))


def command_line(*arguments: str) -> None:
    """Run the command line in this process, which heeds Ctrl-C as it does in a terminal."""
    from edgemate.cli.start import main

    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    sys.argv = ["edgemate", *arguments]
    main()


def _begin(
    work: tuple[Callable[..., object], tuple[Any, ...]],
    cwd: str,
    variables: Mapping[str, str],
    printed: tuple[str, str],
) -> None:
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    for number, path in enumerate(printed, start=1):
        file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o666)
        os.dup2(file, number)
        os.close(file)
    # Those of before remember what they were opened on, such as that it can be sought in.
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    function, given = work
    function(*given)
