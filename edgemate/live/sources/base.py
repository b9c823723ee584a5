"""What a source of frames is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Literal

from edgemate.live.frame import Frame

Pace = Literal["real", "fastest"]


class Source(ABC):
    """Frames, in order. `frames` runs in a thread of its own; `close` may come from another while it waits.

    Attributes:
        name: what it is in messages, without passwords.
        period: seconds between two frames; None if not known.
        remark: a line about what was found when it was opened; None where nothing must be said.
        lost: frames that it skipped itself, because it was falling behind.
        live: frames come by themselves, at their own time. Those of a file wait to be read.
        usual_pace: `real` answers the latest frame and skips those that came meanwhile, `fastest` answers all.
    """

    live: ClassVar[bool] = False
    usual_pace: ClassVar[Pace] = "fastest"
    name: str
    period: float | None = None
    remark: str | None = None
    lost: int = 0

    @abstractmethod
    def frames(self) -> Iterator[Frame]:
        """Every frame, as soon as it can be read.

        Raises:
            DataError: the source fails, in the thread that asks for the next frame.
        """

    def answered(self, frame: Frame) -> None:  # noqa: B027
        """The frame has its answer, which has been printed."""

    @abstractmethod
    def close(self) -> None:
        """Let `frames` end soon."""
