"""`edgemate classify`: images → labels, each from the earliest exit that will do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgemate.cli.console import make_console, print_table
from edgemate.cli.progress import Quiet, showing_progress
from edgemate.cli.screen import print_json
from edgemate.wording import counted

if TYPE_CHECKING:
    from edgemate.bundle import Bundle
    from edgemate.policies import Policy
    from edgemate.runtime import AnytimeClassifier, Prediction


def classify(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, and folders to search for them.")],
    policy: Annotated[str | None, typer.Option(help="One of the bundle's operating points, such as balanced.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Stop where the probability is above this, 0 to 1.", show_default=False)
    ] = None,
    exit: Annotated[int | None, typer.Option(help="Answer at this exit always, counted from 1.")] = None,
    deadline_ms: Annotated[
        float | None, typer.Option(help="Stop where the next segment would end later; alone or with one of the above.")
    ] = None,
    backend: Annotated[str, typer.Option(help="What runs the graphs.")] = "onnxruntime",
    threads: Annotated[int | None, typer.Option(help="CPU threads; all usable cores if absent.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per image and line.")] = False,
    quiet: Quiet = False,
) -> None:
    """Label images, and say at which exit each was decided and how long that took.

    Without --policy, --threshold or --exit the whole network runs. The milliseconds are one image's own, network and
    exit policy; reading and preparing it come on top. An image that cannot be read is named, and the exit code is 1.
    Under a deadline the answers that came late are counted; with --json each says if it did.
    """
    from edgemate.bundle import Bundle
    from edgemate.errors import DataError, ImageError, UsageError
    from edgemate.runtime import AnytimeClassifier

    # What can be told without the backend's library comes first: to import it takes time.
    if sum(option is not None for option in (policy, threshold, exit)) > 1:
        raise UsageError("--policy, --threshold and --exit exclude each other; give one")
    files = _find(images)
    if not any(file.exists() for file in files):
        raise DataError(f"{files[0]}: no such file; name images, or folders of them")
    opened = Bundle.open(bundle)
    chosen = _policy(opened, policy, threshold, exit, deadline_ms)
    fixed = exit is not None and deadline_ms is None
    deadline_ms = None if chosen is None else chosen.deadline_ms  # a named policy may have one too
    answers: list[tuple[Path, Prediction]] = []
    with AnytimeClassifier.load(
        bundle, backend, threads=threads, verify=False, layout="prefixes" if fixed else "segments"
    ) as classifier:
        _warm_up(classifier, exit)
        classifier.reset_statistics()
        with showing_progress(quiet, steps=False) as progress:
            progress.step("classifying, image")
            for done, file in enumerate(files, start=1):
                try:
                    [prediction] = classifier.classify(file, chosen)
                except ImageError as error:
                    _report_failure(file, error, as_json)
                else:
                    answers.append((file, prediction))
                    if as_json:
                        _print_answer(file, prediction, deadline_ms)
                progress.advance(done, len(files))
        if not as_json:
            _print_table(answers, len(classifier.exits))
        statistics = classifier.statistics()
        if statistics.deadlines:  # standard output is the answers' alone with --json
            late = f"{statistics.late} of {counted(statistics.deadlines, 'answer')} came late"
            typer.echo(f"deadline {deadline_ms:g} ms: {late}", err=as_json)
        if classifier.non_finite:
            typer.echo(f"warning: {classifier.non_finite} times the logits of an exit were not finite", err=True)
    if len(answers) < len(files):
        raise typer.Exit(1)


def _find(given: list[Path]) -> list[Path]:
    """Every file given, and the images in every folder given, sorted by path."""
    from edgemate.runtime.labeled import list_images

    return [file for path in given for file in (list_images(path) if path.is_dir() else [path])]


def _policy(
    bundle: Bundle, policy: str | None, threshold: float | None, exit: int | None, deadline_ms: float | None
) -> Policy | None:
    from edgemate.calibration import read_operating_points
    from edgemate.policies import Confidence, Deadline, FixedExit

    chosen: Policy | None = None
    if policy is not None:
        chosen = read_operating_points(bundle).get(policy).as_policy()
    elif threshold is not None:
        chosen = Confidence(threshold)
    elif exit is not None:
        chosen = FixedExit(exit)
        chosen.begin(0, len(bundle.manifest.exits))  # which refuses an exit that is not there
    return chosen if deadline_ms is None else Deadline(deadline_ms, inner=chosen)


def _warm_up(classifier: AnytimeClassifier, exit: int | None) -> None:
    # The first runs allocate memory; without this the first images would look slower than they are.
    import numpy as np

    from edgemate.policies import FixedExit

    nothing = np.zeros(classifier.input.shape(1), dtype=np.float32)
    for _ in range(3):
        classifier.classify(nothing, FixedExit(exit or len(classifier.exits)))


def _report_failure(file: Path, error: Exception, as_json: bool) -> None:
    if as_json:
        print_json({"image": str(file), "error": str(error)}, indent=None)
    else:
        typer.echo(f"error: {error}", err=True)


def _print_answer(file: Path, prediction: Prediction, deadline_ms: float | None) -> None:
    import math

    found: dict[str, Any] = {
        "image": str(file),
        "index": prediction.index,
        "label": prediction.label,
        "probability": None if math.isnan(prediction.probability) else prediction.probability,
        "exit": prediction.exit,
        "milliseconds": prediction.milliseconds,
    }
    if deadline_ms is not None:
        found["late"] = prediction.milliseconds > deadline_ms
    print_json(found, indent=None)


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
            prediction.label,
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
