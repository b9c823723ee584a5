"""`edgemate evaluate`: what operating points really do, beside what calibration predicted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgemate.cli.progress import Quiet, showing_progress
from edgemate.cli.screen import print_json

if TYPE_CHECKING:
    from edgemate.bundle import Bundle
    from edgemate.calibration import OperatingPoint, OperatingPoints
    from edgemate.latency_tables import LatencyTable
    from edgemate.runtime import AnytimeClassifier, Measured
    from edgemate.runtime.labeled import LabeledImages

TIME_GAP = 0.10
# How far the whole network may be from the accuracy that training recorded on the same images: a float32 graph
# answers as the network does but for ties, others may be as much worse as export let them.
FULL_GAP, FULL_GAP_ROUNDED = 0.001, 0.01


def evaluate(
    path: Annotated[Path, typer.Argument(help="A bundle's folder, or a file of statistics that a program stored.")],
    policy: Annotated[list[str] | None, typer.Option(help="An operating point; all of them if absent.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Images: a folder, with one per class if labeled, or .npz; else the test split."),
    ] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Only so many, spread evenly.")] = None,
    batch: Annotated[int, typer.Option(min=2, help="Batch size beside 1.")] = 16,
    backend: Annotated[str, typer.Option(help="What runs the graphs.")] = "onnxruntime",
    threads: Annotated[int | None, typer.Option(help="CPU threads; all usable cores if absent.")] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="Warn where the fractions that stop, or probabilities, are not this bundle's."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write the JSON to this file too.")] = None,
    quiet: Quiet = False,
) -> None:
    """Classify the test split with skipping, in the runtime, and compare with what was predicted.

    Marked with * are gaps of more than 0.3 points of accuracy and of more than 10 % of a time, with ** those of
    accuracy that are also more than two standard errors. The test split is found by the dataset's name and options in
    the bundle, which for some needs edgemate[train]; --data does not. Given statistics instead of a bundle, only
    --against is looked at.
    """
    from edgemate import files
    from edgemate.bundle import Bundle
    from edgemate.calibration import read_operating_points
    from edgemate.cli.evaluation_tables import print_report
    from edgemate.errors import UsageError

    # What can be told without the backend's library or torch comes first: to import them takes time.
    if output is not None:
        files.check_file(output)
    other = None if against is None else read_operating_points(Bundle.open(against))
    if path.is_file():
        if other is None or not policy or len(policy) != 1:
            raise UsageError(f"{path}: statistics need something to compare with: --against BUNDLE --policy NAME")
        report = _compare_statistics(path, other, policy[0])
    else:
        report = _evaluate(path, policy, data, images, batch, backend, threads, other, quiet)
    if output is not None:
        files.write_json(output, report)
    if as_json:
        print_json(report)
    else:
        print_report(report)


def _compare_statistics(path: Path, other: OperatingPoints, name: str) -> dict[str, Any]:
    from edgemate.monitoring import drift_alerts, read_statistics

    statistics = read_statistics(path)
    point = {"name": name, "measured": [], "drift_alerts": drift_alerts(statistics, other.get(name))}
    return {"statistics": statistics.model_dump(mode="json"), "points": [point]}


def _evaluate(
    path: Path,
    policy: list[str] | None,
    data: Path | None,
    count: int | None,
    batch: int,
    backend: str,
    threads: int | None,
    other: OperatingPoints | None,
    quiet: bool,
) -> dict[str, Any]:
    from edgemate.bundle import Bundle
    from edgemate.calibration import read_operating_points
    from edgemate.machine import machine_metadata
    from edgemate.runtime import AnytimeClassifier, evaluate_policy

    bundle = Bundle.open(path)
    points = read_operating_points(bundle)
    chosen = [points.get(name) for name in policy] if policy else list(points.points)
    compared = [(other or points).get(point.name) for point in chosen]
    everything = _images(bundle, data)
    with AnytimeClassifier.load(path, backend, threads=threads, verify=False) as classifier:
        found = _spread(everything, count)
        with showing_progress(quiet) as progress:
            measured = []
            for point in chosen:
                progress.step(f"operating point {point.name}, image")
                measured.append(
                    evaluate_policy(
                        classifier, found.images, found.labels, point.name, batches=(1, batch), progress=progress
                    )
                )
            whole = next((one for one, *_ in measured if one.statistics.fractions[-1] == 1), None)
            if whole is None and found.labels is not None:
                progress.step("the whole network, image")
                [whole] = evaluate_policy(
                    classifier, found.images, found.labels, None, batches=(batch,), progress=progress
                )
        full = {"predicted": _predicted_full(classifier, points), "measured": None if whole is None else whole.accuracy}
        table, times = _predicted_times(classifier, points)
        report: dict[str, Any] = {
            "bundle": classifier.bundle.manifest.name,
            "machine": machine_metadata(()),
            "backend": classifier.backend.metadata(),
            "images": len(found.images),
            "labeled": found.labels is not None,
            "full_accuracy": full,
            "predicted_times": times,
            "warnings": [],
            "points": [
                _row(point, calibrated, done, full, table, comparable=times is not None and not times["differences"])
                for point, calibrated, done in zip(chosen, compared, measured, strict=True)
            ],
        }
        if times is not None and times["differences"]:
            report["warnings"].append(
                f"times predicted for {times['device']} ({'; '.join(times['differences'])}): those measured here are "
                f"not held against them; edgemate bench {path} --device TAG measures this machine"
            )
        if data is None and len(found.images) == len(everything.images):
            report["warnings"] += _doubts(classifier, full["measured"])
        return report


def _images(bundle: Bundle, data: Path | None) -> LabeledImages:
    from edgemate.cli.own_images import read_test_split
    from edgemate.runtime.labeled import read_labeled

    return read_test_split(bundle) if data is None else read_labeled(data, bundle.manifest.classes)


def _spread(found: LabeledImages, count: int | None) -> LabeledImages:
    import numpy as np

    from edgemate.runtime.labeled import LabeledImages

    if count is None or count >= len(found.images):
        return found
    rows = np.linspace(0, len(found.images) - 1, count).astype(np.intp)
    labels = None if found.labels is None else found.labels[rows]
    return LabeledImages([found.images[row] for row in rows], labels)


def _predicted_full(classifier: AnytimeClassifier, points: OperatingPoints) -> float | None:
    """The whole network's accuracy on the calibration split."""
    for point in points.points:
        if point.expected.fractions[-1] == 1:
            return point.expected.accuracy
    return classifier.exits[-1].accuracy.get("calibration")


def _predicted_times(
    classifier: AnytimeClassifier, points: OperatingPoints
) -> tuple[LatencyTable | None, dict[str, Any] | None]:
    """The table to predict from, where one is of this machine; whose the times are, and what is otherwise here."""
    from edgemate.errors import EdgemateError
    from edgemate.latency_tables import read_latency_table

    table = classifier.latency_table()
    if table is not None:
        return table, {"device": table.device, "differences": []}
    if points.device is None:
        return None, None
    try:
        theirs = read_latency_table(classifier.bundle, points.device)
        differences = theirs.differences(classifier.backend.metadata())
    except EdgemateError:
        differences = ["what that is cannot be read from the bundle"]
    return None, {"device": points.device, "differences": differences}


def _row(
    point: OperatingPoint,
    calibrated: OperatingPoint,
    measured: list[Measured],
    full: dict[str, float | None],
    table: LatencyTable | None,
    *,
    comparable: bool,
) -> dict[str, Any]:
    from edgemate.monitoring import accuracy_gap, drift_alerts

    expected, first = point.expected, measured[0]
    predicted = {
        "accuracy": expected.accuracy,
        "drop": None if full["predicted"] is None else full["predicted"] - expected.accuracy,
        "mean_ms": expected.mean_ms if table is None else table.mean_ms(expected.fractions),
        "p99_ms": expected.p99_ms if table is None else table.p99_ms(expected.fractions),
        "fractions": list(expected.fractions),
        "images": point.images,
    }
    gap, gaps = None, []
    if first.accuracy is not None:
        found = accuracy_gap(expected.accuracy, point.images, first.accuracy, first.statistics.images)
        gap = {"gap": found.gap, "standard_error": found.standard_error, "beyond_chance": found.beyond_chance}
        gaps += ["accuracy"] * found.notable
    for figure, value in (("mean_ms", first.latency.mean), ("p99_ms", first.latency.p99)):
        said = predicted[figure]
        if comparable and isinstance(said, float) and abs(value - said) > TIME_GAP * said:
            gaps.append(figure)
    return {
        "name": point.name,
        "predicted": predicted,
        "measured": [_measured(one, full["measured"]) for one in measured],
        "accuracy_gap": gap,
        "gaps": gaps,
        "drift_alerts": drift_alerts(first.statistics, calibrated),
    }


def _measured(found: Measured, full: float | None) -> dict[str, Any]:
    return {
        "batch": found.batch,
        "accuracy": found.accuracy,
        "drop": None if found.accuracy is None or full is None else full - found.accuracy,
        "ms_per_image": found.ms_per_image,
        "mean_ms": found.latency.mean,
        "p50_ms": found.latency.p50,
        "p99_ms": found.latency.p99,
        "fractions": list(found.statistics.fractions),
        "mean_probability": found.statistics.mean_probability,
        "non_finite": found.statistics.non_finite,
    }


def _doubts(classifier: AnytimeClassifier, accuracy: float | None) -> list[str]:
    """What speaks against this being the test split that training saw, or against the graphs."""
    recorded = classifier.exits[-1].accuracy.get("test")
    if accuracy is None or recorded is None:
        return []
    precision = classifier.bundle.manifest.precision
    most = FULL_GAP if precision is None or precision.name == "fp32" else FULL_GAP_ROUNDED
    if abs(accuracy - recorded) <= most:
        return []
    return [
        f"the whole network is right about {100 * accuracy:.2f} % of these images; when it was trained it was right "
        f"about {100 * recorded:.2f} % of the test split: if these are others, some may be training images"
    ]
