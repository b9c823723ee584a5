"""`edgemate classify`: images → labels, each from the earliest exit that will do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgemate.cli.backend_options import BackendName, OnFailure, Threads
from edgemate.cli.console import make_console, print_table
from edgemate.cli.pixels import ExactPixels
from edgemate.cli.progress import Quiet, showing_progress
from edgemate.cli.screen import print_json, say
from edgemate.cli.stop_options import AlwaysAt, DeadlineMs, OperatingPoint, Threshold
from edgemate.cli.trust import TrustedKeys, TrustEngines
from edgemate.wording import counted, shortened

if TYPE_CHECKING:
    from edgemate.api import Answer, Classified

STEPS = ("decode", "prepare", "network", "total")
"""What the milliseconds of an image are of."""


def classify(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, and folders to search for them.")],
    policy: OperatingPoint = None,
    threshold: Threshold = None,
    exit: AlwaysAt = None,
    deadline_ms: DeadlineMs = None,
    backend: BackendName = "onnxruntime",
    threads: Threads = None,
    trusted_keys: TrustedKeys = None,
    trust_engines: TrustEngines = False,
    on_failure: OnFailure = "raise",
    exact_pixels: ExactPixels = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line and image.")] = False,
    quiet: Quiet = False,
) -> None:
    """Label images, and say at which exit each was decided and how long that took.

    Without --policy, --threshold or --exit the whole network runs. The milliseconds are one image's own: decoding the
    file, preparing it (resize, crop, normalization), and the network with its exit policy. An image that cannot be
    read is named, and the exit code is 1. A deadline is the network's; the answers that came late are counted, and
    with --json each says if it did.
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
            exact_pixels=exact_pixels,
            on_failure=on_failure,  # type: ignore[arg-type]  # which is checked there
            notify=_print_json if as_json else _print_error,
            progress=progress,
        )
    statistics = found.statistics
    if not as_json:
        _print_table(found)
    if statistics.deadlines:  # standard output is the answers' alone with --json
        late = f"{statistics.late} of {counted(statistics.deadlines, 'answer')} came late"
        say(f"deadline {found.deadline_ms:g} ms: {late}", err=as_json)
    if statistics.degraded:
        say(
            f"warning: {counted(statistics.degraded, 'answer')} came from an earlier exit, as a later one failed",
            err=True,
        )
    if statistics.non_finite:
        say(f"warning: {statistics.non_finite} times the logits of an exit were not finite", err=True)
    if len(found.predictions) < len(found.answers):
        raise typer.Exit(1)


def _print_json(answer: Answer) -> None:
    print_json(answer.to_json(), indent=None)


def _print_error(answer: Answer) -> None:
    if answer.error is not None:
        say(f"error: {answer.error}", err=True)


def _print_table(found: Classified) -> None:
    from rich.table import Table

    answers = [answer for answer in found.answers if answer.prediction is not None]
    if not answers:
        return
    table = Table()
    for column in ("image", "label"):
        table.add_column(column)
    for column in ("probability", "exit", *STEPS):
        table.add_column(column, justify="right", no_wrap=True)
    rows = []
    for answer in answers:
        prediction = answer.prediction
        assert prediction is not None
        rows.append((answer.decode_ms, answer.prepare_ms, prediction.milliseconds, answer.total_ms))
        table.add_row(
            str(answer.image),
            "none" if prediction.label is None else shortened(prediction.label),
            f"{prediction.probability:.3f}",
            str(prediction.exit),
            *(f"{ms:.2f}" for ms in rows[-1]),
        )
    console = make_console()
    print_table(table, console)
    means = (
        f"{step} {sum(column) / len(rows):.2f}" for step, column in zip(STEPS, zip(*rows, strict=True), strict=True)
    )
    taken = [prediction.exit for _, prediction in found.predictions]
    exits = range(1, found.exits + 1)
    fractions = ", ".join(f"exit {k} {100 * taken.count(k) / len(taken):.1f} %" for k in exits)
    console.out(f"{counted(len(answers), 'image')}, mean ms: {', '.join(means)}; {fractions}")
