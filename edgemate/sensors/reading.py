"""`Reading`: one value that a machine may or may not give."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Reading:
    """A value, or the reason why there is none.

    Attributes:
        value: as JSON; None if it cannot be read.
        reason: why not; None if there is a value.
    """

    value: Any
    reason: str | None = None

    @classmethod
    def missing(cls, reason: str) -> Reading:
        """No value, for this reason."""
        return cls(None, reason)

    def to_json(self) -> dict[str, Any]:
        """Both as JSON values."""
        return asdict(self)


def read_line(path: Path) -> str | None:
    """The text of a small file of the kernel without surrounding space; None if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n\t")
    except OSError:
        return None


def read_number(path: Path) -> int | None:
    """The integer in a file of the kernel; None if it cannot be read or is not one."""
    text = read_line(path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
