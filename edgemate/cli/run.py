"""`edgemate run`: frames in, one line of JSON per answer out, for as long as it is wanted."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgemate.cli.backend_options import BackendName, OnFailure, Threads
from edgemate.cli.screen import print_json, reader_gone, say
from edgemate.cli.stop_options import AlwaysAt, DeadlineMs, OperatingPoint, Threshold
from edgemate.cli.trust import TrustedKeys, TrustEngines

if TYPE_CHECKING:
    from edgemate.live import LiveAnswer, LiveReport


def run(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    source: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help="camera:0, gst:PIPELINE, rtsp://…, a video file, an image folder, or - for standard input.",
        ),
    ],
    policy: OperatingPoint = None,
    threshold: Threshold = None,
    exit: AlwaysAt = None,
    deadline_ms: DeadlineMs = None,
    pace: Annotated[
        str | None,
        typer.Option(
            metavar="real|fastest",
            help="real: the latest frame, others are skipped. fastest: every frame; usual for a folder and for -.",
        ),
    ] = None,
    max_age_ms: Annotated[
        float | None, typer.Option(help="Skip frames older than this; one period of a video file if absent.")
    ] = None,
    still: Annotated[
        float | None,
        typer.Option(help="Keep the answer while the features of segment 1 change by at most this, such as 0.05."),
    ] = None,
    overlay: Annotated[str | None, typer.Option(metavar="window|FILE", help="Show answers on the frames.")] = None,
    frames: Annotated[int | None, typer.Option(help="Stop after so many answers.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Folder: wait for new images.")] = False,
    done: Annotated[Path | None, typer.Option(help="Folder: move images here once they are answered.")] = None,
    raw: Annotated[
        str | None,
        typer.Option(metavar="WxH[:gray]", help="Standard input: raw RGB or gray frames of this size."),
    ] = None,
    every: Annotated[float | None, typer.Option(help="Print the counters every so many seconds.")] = None,
    reload: Annotated[
        bool, typer.Option("--reload/--no-reload", help="Take a new bundle that replaces the folder, once proved.")
    ] = True,
    backend: BackendName = "onnxruntime",
    threads: Threads = None,
    trusted_keys: TrustedKeys = None,
    trust_engines: TrustEngines = False,
    on_failure: OnFailure = "raise",
) -> None:
    """Answer the frames of a camera, video, folder or pipe until it ends, or until SIGINT or SIGTERM.

    Standard output has one JSON object per line and answer. Standard error has the counters, at the end, on SIGUSR1 and
    with --every, what drifted from the calibration, and new bundles. Without --policy, --threshold or --exit the whole
    network runs. A stop by a signal is a good end: the exit code is 0. It is 1 if a frame could not be read.
    """
    from edgemate import api
    from edgemate.stopping import on_request

    with on_request() as stops, _reports_on_signal() as asks_report:
        found = api.run(
            bundle,
            source,
            policy,
            threshold=threshold,
            exit=exit,
            deadline_ms=deadline_ms,
            pace=pace,  # type: ignore[arg-type]  # which is checked there
            max_age_ms=max_age_ms,
            still=still,
            overlay=overlay,
            frames=frames,
            watch=watch,
            done=done,
            raw=raw,
            every=every,
            reload=reload,
            backend=backend,
            threads=threads,
            trusted_keys=trusted_keys,
            trust_engines=trust_engines,
            on_failure=on_failure,  # type: ignore[arg-type]  # likewise
            notify=_print_answer,
            report=_print_report,
            note=_print_note,
            stops=_or_unread(stops),
            asks_report=asks_report,
        )
    _print_report(found)
    if found.unreadable:
        raise typer.Exit(1)


def _or_unread(stops: Callable[[], bool]) -> Callable[[], bool]:
    """Also end, as by a failed write, where nobody reads the answers any more: the next frame may never come."""

    def ends() -> bool:
        if reader_gone():
            raise BrokenPipeError
        return stops()

    return ends


class _Asked:
    """Whether SIGUSR1 has come since the last time it was asked."""

    def __init__(self) -> None:
        self.came = False

    def __call__(self) -> bool:
        came, self.came = self.came, False
        return came


@contextlib.contextmanager
def _reports_on_signal() -> Iterator[_Asked]:
    asked = _Asked()
    number = getattr(signal, "SIGUSR1", None)
    if number is None or threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(_: int, frame: Any) -> None:
        asked.came = True

    before = signal.signal(number, ask)
    try:
        yield asked
    finally:
        signal.signal(number, signal.SIG_DFL if before is None else before)


def _print_answer(answer: LiveAnswer) -> None:
    print_json(answer.to_json(), indent=None)


def _print_report(report: LiveReport) -> None:
    say(report.summary, err=True)
    for warning in report.warnings:
        say(f"warning: {warning}", err=True)
    for alert in report.drift_alerts:
        say(f"drift: {alert}", err=True)


def _print_note(line: str) -> None:
    say(line, err=True)
