"""What a long command is doing, on standard error: a bar in a terminal, elsewhere a line now and then."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Protocol, TextIO

import typer

from edgemate.cli.console import is_screen, make_console
from edgemate.cli.screen import printable, say
from edgemate.progress import EVERY, SILENT, Clock, Heartbeat, Pace, Progress, duration

if TYPE_CHECKING:
    from rich.console import Console

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress; errors and the result are still printed.")]

REDRAW_SECONDS = 0.25


@contextlib.contextmanager
def showing_progress(quiet: bool = False, *, steps: bool = True) -> Iterator[Progress]:
    """Give what a long command tells of its progress.

    A terminal gets a bar that is redrawn in place. Elsewhere there is a line at least every 30 seconds; standard
    output stays the result's alone. Nothing is redrawn by a thread, which would disturb what is being timed, but inside
    of `Progress.unattended`.

    Args:
        quiet: show nothing.
        steps: where there is no terminal, print a line for every step as well.
    """
    if quiet:
        yield SILENT
        return
    console = make_console(stderr=True)
    if is_screen(stderr=True) and not console.is_dumb_terminal:
        with _bar(console) as bar:
            yield bar
    else:
        yield LineProgress(sys.stderr, steps=steps)


def total_time(started: float) -> str:
    """`total time: 1:05`, since `started` of `time.monotonic`."""
    return f"total time: {duration(time.monotonic() - started)}"


class LineProgress:
    """Prints a line for every step, and one whenever 30 seconds have passed since the last.

    Args:
        file: where to.
        steps: print the steps' own lines.
        every: seconds.
        clock: tells the time.
    """

    def __init__(
        self, file: TextIO, *, steps: bool = True, every: float = EVERY, clock: Clock = time.monotonic
    ) -> None:
        self._file, self._steps, self._clock = file, steps, clock
        self._started = clock()
        self._heartbeat = Heartbeat(every, clock)
        self._step = _Step("starting", clock)
        self._ticker = _Ticker(self._tick)

    def step(self, text: str) -> None:
        """Print it, if it is another."""
        if text == self._step.text:
            return
        self._step = _Step(text, self._clock)
        if self._steps:
            self._heartbeat.beat()
            # Nothing is counted yet, so the unit would dangle.
            self._print(text.removesuffix(", image").removesuffix(", round"))

    def advance(self, done: int, total: int, detail: str | Callable[[], str] = "") -> None:
        """Print how far the step is, if a line is due."""
        self._step.advance(done, total)
        if self._heartbeat.due():
            self._print(self._step.line(detail))

    def unattended(self) -> contextlib.AbstractContextManager[None]:
        """Print lines from a thread meanwhile."""
        return self._ticker.running()

    def _tick(self) -> None:
        if self._heartbeat.due():
            self._print(self._step.line(f"{duration(self._step.seconds)} so far"))

    def _print(self, text: str) -> None:
        # At once: what is piped is else held back until some kilobytes are together.
        say(f"[{duration(self._clock() - self._started)}] {text}", file=self._file)


class _Draw(Protocol):
    """Draws a step's text, how far it is where that is known, and what else there is to say."""

    def __call__(self, description: str, done: int | None, total: int | None, detail: str) -> None: ...


class BarProgress:
    """Redraws one place on the screen, not more often than every quarter of a second.

    Args:
        draw: draws it.
        clock: tells the time.
    """

    def __init__(self, draw: _Draw, clock: Clock = time.monotonic) -> None:
        self._draw, self._clock = draw, clock
        self._heartbeat = Heartbeat(REDRAW_SECONDS, clock)
        self._step = _Step("starting", clock)
        self._detail = ""
        self._ticker = _Ticker(self._redraw)

    def step(self, text: str) -> None:
        """Show it at once."""
        if text != self._step.text:
            self._step, self._detail = _Step(text, self._clock), ""
        self._redraw()

    def advance(self, done: int, total: int, detail: str | Callable[[], str] = "") -> None:
        """Show how far the step is, if it is time or the step is at its end."""
        self._step.advance(done, total)
        if self._heartbeat.due() or done == total:
            shown = detail if isinstance(detail, str) else detail()
            self._detail = "; ".join(part for part in (self._step.left(), shown) if part)
            self._redraw()

    def unattended(self) -> contextlib.AbstractContextManager[None]:
        """Redraw the clock from a thread meanwhile."""
        return self._ticker.running()

    def _redraw(self) -> None:
        self._draw(self._step.text, self._step.done, self._step.total, self._detail)


class _Step:
    """The step that the command is at."""

    def __init__(self, text: str, clock: Clock) -> None:
        self.text = text
        self.done: int | None = None
        self.total: int | None = None
        self._clock = clock
        self._started = clock()
        self._pace = Pace(clock=clock)

    @property
    def seconds(self) -> float:
        return self._clock() - self._started

    def advance(self, done: int, total: int) -> None:
        more = done - (self.done or 0)
        self.done, self.total = done, total
        if more > 0:
            self._pace.add(more)

    def left(self) -> str:
        """For how much longer, in words."""
        if self.done is None or self.total is None or self.done >= self.total:
            return ""
        left = self._pace.left(self.total - self.done)
        return "" if left is None else f"{duration(left)} left"

    def line(self, detail: str | Callable[[], str]) -> str:
        """All of it on one line, without the clock."""
        counted = "" if self.done is None else f"{self.done:,} of {self.total:,}"
        shown = detail if isinstance(detail, str) else detail()
        metadata = ", ".join(part for part in (counted, self.left(), shown.replace("\n", "; ")) if part)
        return f"{self.text}: {metadata}" if metadata else self.text


class _Ticker:
    """Calls a function every second from a thread, while a block runs."""

    def __init__(self, tick: Callable[[], None], seconds: float = 1.0) -> None:
        self._tick, self._seconds = tick, seconds
        self._depth = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        self._depth += 1
        if self._depth > 1:
            try:
                yield
            finally:
                self._depth -= 1
            return
        ended = threading.Event()
        thread = threading.Thread(target=self._run, args=(ended,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self._depth -= 1

    def _run(self, ended: threading.Event) -> None:
        while not ended.wait(self._seconds):
            self._tick()


@contextlib.contextmanager
def _bar(console: Console) -> Iterator[BarProgress]:
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    started = time.monotonic()

    def drawn(description: str, done: int | None, total: int | None, detail: str) -> Table:
        first = Table.grid(padding=(0, 1))
        parts: list[Text | ProgressBar] = [
            Text(duration(time.monotonic() - started), "progress.elapsed"),
            Text(printable(description)),
        ]
        if done is not None and total is not None:
            parts += [Text(f"{done:,}/{total:,}", "progress.download"), ProgressBar(total, done, width=20)]
        first.add_row(*parts)
        whole = Table.grid()
        whole.add_row(first)
        if detail:
            shown = "\n".join(map(printable, detail.split("\n")))
            whole.add_row(Text(shown, no_wrap=True, overflow="ellipsis"))
        return whole

    # Printed lines go above the bar where both are on the same screen; a file must get its own.
    shared = sys.stdout.isatty()
    with Live(console=console, auto_refresh=False, transient=True, redirect_stdout=shared) as live:

        def draw(description: str, done: int | None, total: int | None, detail: str) -> None:
            live.update(drawn(description, done, total, detail), refresh=True)

        yield BarProgress(draw)
