"""`edgemate evaluate`: what operating points really do, beside what calibration predicted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from edgemate.exits import OperatingPoints
    from edgemate.runtime import AnytimeClassifier, Measured
    from edgemate.runtime.labelled import LabelledPictures

ACCURACY_GAP = 0.003
TIME_GAP = 0.10


def evaluate(
    path: Annotated[Path, typer.Argument(help="A bundle's folder, or a file of statistics that a program stored.")],
    policy: Annotated[list[str] | None, typer.Option(help="An operating point; all of them if absent.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Pictures: a folder, with one per class if labelled, or .npz; else the test split."),
    ] = None,
    pictures: Annotated[int | None, typer.Option(min=1, help="Only so many, spread evenly.")] = None,
    batch: Annotated[int, typer.Option(min=2, help="Batch size beside 1.")] = 16,
    backend: Annotated[str, typer.Option(help="What runs the graphs.")] = "onnxruntime",
    threads: Annotated[int | None, typer.Option(help="CPU threads; all usable cores if absent.")] = None,
    against: Annotated[
        Path | None, typer.Option(help="Warn where shares or probabilities are not what this bundle was calibrated to.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write the JSON to this file too.")] = None,
) -> None:
    """Classify the test split with skipping, in the runtime, and compare with what was predicted.

    Marked with * are gaps of more than 0.3 points of accuracy and of more than 10 % of a time. The test split is found
    by the data set's name and options in the bundle, which needs edgemate[train]; --data does not. Given statistics
    instead of a bundle, only --against is looked at.
    """
    import json

    from rich.console import Console

    from edgemate import files
    from edgemate.bundle import Bundle
    from edgemate.errors import UsageError
    from edgemate.exits import read_operating_points

    other = None if against is None else read_operating_points(Bundle.open(against))
    if path.is_file():
        if other is None or not policy or len(policy) != 1:
            raise UsageError(f"{path}: statistics need something to compare with: --against BUNDLE --policy NAME")
        report = _compare_statistics(path, other, policy[0])
    else:
        report = _evaluate(path, policy, data, pictures, batch, backend, threads, other)
    if output is not None:
        files.write_json(output, report)
    if as_json:
        typer.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        _print(report, Console())


def _compare_statistics(path: Path, other: OperatingPoints, name: str) -> dict[str, Any]:
    from edgemate.exits import departures, read_statistics

    statistics = read_statistics(path)
    point = {"name": name, "measured": [], "departures": departures(statistics, other.get(name))}
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
) -> dict[str, Any]:
    from edgemate.cli.progress import showing_steps
    from edgemate.exits import departures, read_operating_points
    from edgemate.machine import machine_facts
    from edgemate.runtime import AnytimeClassifier, evaluate_policy

    rows = []
    with AnytimeClassifier.load(path, backend, threads=threads) as classifier:
        points = read_operating_points(classifier.bundle)
        chosen = [points.get(name) for name in policy] if policy else list(points.points)
        compared = [(other or points).get(point.name) for point in chosen]
        found = _pictures(classifier, data, count)
        table = classifier.latency_table()
        with showing_steps() as tell:
            for point, calibrated in zip(chosen, compared, strict=True):
                measured = evaluate_policy(
                    classifier, found.pictures, found.labels, point.name, batches=(1, batch), tell=tell
                )
                shares = point.expected.shares
                predicted = {
                    "accuracy": point.expected.accuracy,
                    "mean_ms": point.expected.mean_ms if table is None else table.mean_ms(shares),
                    "p99_ms": point.expected.p99_ms if table is None else table.p99_ms(shares),
                    "shares": list(shares),
                    "pictures": point.pictures,
                    "device": points.device if table is None else table.device,
                }
                rows.append(
                    {
                        "name": point.name,
                        "predicted": predicted,
                        "measured": [_measured(one) for one in measured],
                        "gaps": _gaps(predicted, measured[0]),
                        "departures": departures(measured[0].statistics, calibrated),
                    }
                )
        return {
            "bundle": classifier.bundle.manifest.name,
            "machine": machine_facts(()),
            "backend": classifier.backend.facts(),
            "pictures": len(found.pictures),
            "labelled": found.labels is not None,
            "points": rows,
        }


def _pictures(classifier: AnytimeClassifier, data: Path | None, count: int | None) -> LabelledPictures:
    import numpy as np

    from edgemate.cli.own_pictures import read_test_split
    from edgemate.runtime.labelled import LabelledPictures, read_labelled

    found = read_test_split(classifier.bundle) if data is None else read_labelled(data, classifier.classes)
    if count is None or count >= len(found.pictures):
        return found
    rows = np.linspace(0, len(found.pictures) - 1, count).astype(np.intp)
    labels = None if found.labels is None else found.labels[rows]
    return LabelledPictures([found.pictures[row] for row in rows], labels)


def _measured(found: Measured) -> dict[str, Any]:
    return {
        "batch": found.batch,
        "accuracy": found.accuracy,
        "ms_per_picture": found.ms_per_picture,
        "mean_ms": found.latency.mean,
        "p50_ms": found.latency.p50,
        "p99_ms": found.latency.p99,
        "shares": list(found.statistics.shares),
        "mean_probability": found.statistics.mean_probability,
        "non_finite": found.statistics.non_finite,
    }


def _gaps(predicted: dict[str, Any], measured: Measured) -> list[str]:
    """Which of the predicted figures batch 1 did not keep."""
    gaps = []
    if measured.accuracy is not None and abs(measured.accuracy - predicted["accuracy"]) > ACCURACY_GAP:
        gaps.append("accuracy")
    for figure, found in (("mean_ms", measured.latency.mean), ("p99_ms", measured.latency.p99)):
        if predicted[figure] is not None and abs(found - predicted[figure]) > TIME_GAP * predicted[figure]:
            gaps.append(figure)
    return gaps


def _print(report: dict[str, Any], console: Console) -> None:
    if "statistics" not in report:
        _print_table(report, console)
    for row in report["points"]:
        for departure in row["departures"]:
            line = f"warning: {row['name']}: {departure}; thresholds picked on other pictures do not hold"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        if not row["departures"]:
            console.print(f"{row['name']}: shares and probability are within what was calibrated", highlight=False)


def _print_table(report: dict[str, Any], console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    from edgemate.cli.figures import milliseconds, percent

    def time(value: float | None) -> str:
        return "–" if value is None else milliseconds(value)

    def accuracy(value: float | None) -> str:
        return "–" if value is None else f"{100 * value:.2f} %"

    title = f"{escape(report['bundle'])}: {report['pictures']:,} pictures; ms of a batch, from ready tensor to answers"
    table = Table(title=title, title_justify="left")
    table.add_column("operating point")
    table.add_column("")
    for column in ("accuracy", "mean ms", "p50 ms", "p99 ms", "per picture"):
        table.add_column(column, justify="right")
    for exit in range(1, len(report["points"][0]["predicted"]["shares"]) + 1):
        table.add_column(f"exit {exit}", justify="right")
    for row in report["points"]:
        said = row["predicted"]
        shares = (percent(share) for share in said["shares"])
        times = (time(said["mean_ms"]), "", time(said["p99_ms"]), time(said["mean_ms"]))
        table.add_row(escape(row["name"]), "predicted", accuracy(said["accuracy"]), *times, *shares)
        for found in row["measured"]:
            mark = dict.fromkeys(row["gaps"], " *") if found["batch"] == 1 else {}
            table.add_row(
                "",
                f"batch {found['batch']}",
                accuracy(found["accuracy"]) + mark.get("accuracy", ""),
                time(found["mean_ms"]) + mark.get("mean_ms", ""),
                time(found["p50_ms"]),
                time(found["p99_ms"]) + mark.get("p99_ms", ""),
                time(found["ms_per_picture"]),
                *(percent(share) for share in found["shares"]),
            )
    console.print(table)
    facts = {**report["machine"], **report["backend"]}
    console.print(", ".join(f"{key} {value}" for key, value in facts.items()), markup=False, highlight=False)
