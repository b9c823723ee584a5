"""What long work told of its progress, as a list of lines."""

from __future__ import annotations

import contextlib
from collections.abc import Callable


class Told(list[str]):
    """An `edgemate.progress.Progress` that keeps what it is told: a step's text, and `text: done of total, detail`."""

    def __init__(self) -> None:
        super().__init__()
        self._step = ""

    def step(self, text: str) -> None:
        self._step = text
        self.append(text)

    def advance(self, done: int, total: int, detail: str | Callable[[], str] = "") -> None:
        shown = detail if isinstance(detail, str) else detail()
        self.append(f"{self._step}: {done} of {total}" + (f", {shown}" if shown else ""))

    def unattended(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def of(self, step: str) -> list[str]:
        """How far it was said that a step is."""
        return [line for line in self if line.startswith(f"{step}: ")]
