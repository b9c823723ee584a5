"""The interface of engines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from edgemate.comparison.running import Failure, Training


def _ignore(*_: object) -> None:
    pass


@dataclass(frozen=True)
class Reports:
    """Functions that an engine calls from the thread that called `Engine.run`.

    Attributes:
        finished: called after each successful training, with the seconds that its last process took.
        poll: called a few times a second with the running trainings and the number of waiting ones.
        note: called with a line for a person, such as about a training that was restarted.
    """

    finished: Callable[[Training, float], None] = _ignore
    poll: Callable[[Sequence[Training], int], None] = _ignore
    note: Callable[[str], None] = _ignore


class Engine(ABC):
    """Places trainings. A training is a process that writes its run folder by itself and resumes an unfinished one.

    Leaving an engine's context ends only what `start` started. The module of an engine must import neither torch nor a
    cluster's library at the top, so that `check` is quick. The keyword-only arguments of its constructor are its
    options.

    Attributes:
        jobs: largest number of trainings at the same time; 1 while `start` has not yet found it out.
        threads: CPU threads of each training.
    """

    jobs: int
    threads: int

    @abstractmethod
    def __init__(self, jobs: int | None, gpus: bool) -> None:
        """Take the common arguments.

        Args:
            jobs: largest number of trainings at the same time; None: as many as the engine finds fit.
            gpus: the recipe allows trainings to use GPUs.
        """

    def check(self, output: Path) -> None:  # noqa: B027, not every engine has something to do here
        """Raise what can be known before anything is imported or started.

        Args:
            output: folder of the runs; it may not exist yet.

        Raises:
            UsageError: the engine is not installed, or an option cannot be used.
        """

    @abstractmethod
    def run(self, trainings: Sequence[Training], reports: Reports) -> list[Failure]:
        """Run all trainings, started in this order. A failed one does not stop the others.

        Returns:
            Those that failed; all others are finished.
        """

    def start(self, output: Path) -> None:  # noqa: B027, not every engine has something to do here
        """Start what the engine needs, which may set `jobs` and `threads`; called once, before `run`.

        Args:
            output: folder of the runs, which exists.

        Raises:
            UsageError: that is not possible.
        """

    def stop(self) -> None:  # noqa: B027, not every engine has something to do here
        """End what `start` started, and every training that is still running."""

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
