"""The tables of `edgemate profile`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgemate.cli.console import make_console, print_table
from edgemate.cli.count_tables import count_files, print_counts
from edgemate.wording import counted

if TYPE_CHECKING:
    from rich.console import Console

    from edgemate.profiling import Point, Profile

TIMES = ("PyTorch", "ONNX Runtime", "ONNX Runtime, as segments")


def print_profile(profile: Profile, folder: Path, path: Path) -> None:
    """Print all tables of a profile, and the files that were written into a folder.

    Args:
        profile: to print.
        folder: that its files were written to.
        path: the run or bundle.
    """
    from edgemate.cli.timing_tables import print_conditions, print_timings
    from edgemate.profiling.assembling import CSV_FILE, PROFILE_FILE
    from edgemate.report import report_paths

    console = make_console()
    _print_exits(profile, console)
    print_timings(profile, console)
    _print_points(profile, console)
    print_conditions(profile, console)
    written = [folder / name for name in (PROFILE_FILE, CSV_FILE)]
    if profile.counts is not None:
        print_counts(profile.counts, [exit.name for exit in profile.exits], console)
        written += count_files(profile.counts, folder)
    report, *curves = report_paths(folder)
    written += [one for one in (report, *curves) if one.is_file()]
    if not report.is_file():
        console.out(f"no {report.name}: bokeh is not installed; pip install 'edgemate[report]'")
    if images := [one.name for one in curves if not one.is_file()]:
        console.out(f"no {' and '.join(images)}: matplotlib is not installed; pip install 'edgemate[train]'")
    console.out(f"written: {', '.join(str(path) for path in written)}")
    if profile.kind == "run":
        console.out(f"next: edgemate export {path} --target onnx")


def print_combined(profiles: Sequence[Profile]) -> None:
    """Print one table with every exit of several profiles."""
    from rich.table import Table

    from edgemate.cli.figures import engineering, milliseconds, percent

    console = make_console()
    table = Table(title="all together; median ms at batch 1", title_justify="left")
    for column in ("name", "exit"):
        table.add_column(column)
    for column in ("accuracy", "of", "MACs as segments", "parameters", *TIMES):
        table.add_column(column, justify="right")
    for profile in profiles:
        for exit in profile.exits:
            table.add_row(
                f"{profile.run} ({profile.kind})" if exit.exit == 1 else "",
                f"{exit.exit} {exit.name}",
                percent(exit.accuracy),
                profile.split,
                engineering(exit.chained_macs),
                engineering(exit.parameters),
                "–" if exit.pytorch is None else milliseconds(exit.pytorch.p50),
                milliseconds(exit.onnxruntime_prefix.p50),
                milliseconds(exit.onnxruntime_segments.p50),
            )
    print_table(table, console)


def _print_exits(profile: Profile, console: Console) -> None:
    from rich.table import Table

    from edgemate.cli.figures import NOT_MONOTONE, engineering, milliseconds, percent
    from edgemate.profiling.less_accurate import less_accurate_warning
    from edgemate.profiling.scored_images import source_of

    costs = Table(title=f"{profile.run}: what every exit costs", title_justify="left")
    costs.add_column("exit")
    for column in ("MACs", "FLOPs", "MACs as segments", "parameters", "peak memory"):
        costs.add_column(column, justify="right")
    title = f"what it gives; median ms at batch 1, {profile.machine['processor']}, {counted(profile.threads, 'thread')}"
    gives = Table(title=title, title_justify="left")
    gives.add_column("exit")
    top5 = ["top-5"] if profile.exits[0].top5 is not None else []
    pytorch = ["PyTorch"] if "pytorch" in profile.not_monotone else []
    for column in ("accuracy", *top5, "ECE", *pytorch, *TIMES[1:]):
        gives.add_column(column, justify="right")
    for exit in profile.exits:
        name = f"{exit.exit} {exit.name}"
        costs.add_row(
            name,
            *(engineering(count) for count in (exit.macs, exit.flops, exit.chained_macs, exit.parameters)),
            "–" if exit.peak_activation_bytes is None else engineering(exit.peak_activation_bytes, "B"),
        )
        times = (
            milliseconds(getattr(exit, column).p50) + (" !" if exit.exit in marked else "")
            for column, marked in profile.not_monotone.items()  # without PyTorch for a bundle
        )
        more = [] if exit.top5 is None else [percent(exit.top5)]
        gives.add_row(name, percent(exit.accuracy), *more, f"{exit.ece:.3f}", *times)
    print_table(costs, console)
    print_table(gives, console)
    if any(profile.not_monotone.values()):
        console.out(NOT_MONOTONE)
    console.out(f"ensemble of all exits: accuracy {percent(profile.ensemble_accuracy)}")
    of = source_of(profile.split, profile.data)
    console.out(f"accuracies are of {counted(profile.images, 'image')} of {of}")
    warning = less_accurate_warning(profile.exits)
    if warning is not None:
        console.out(f"warning: {warning}")


def _print_points(profile: Profile, console: Console) -> None:
    from rich.table import Table

    from edgemate.cli.figures import engineering, milliseconds, percent
    from edgemate.profiling.efficient import efficient_thresholds

    points = [point for point in profile.points if point.curve == "accuracy-latency"]
    efficient = efficient_thresholds(points)
    shown = [*efficient, *(point for point in points if point.kind != "threshold")]
    (full,) = (point for point in points if point.kind == "full network")
    images = {"test": "test image", "calibration": "calibration image", "images": "image"}[profile.split]
    table = Table(
        title=f"{full.provenance} on {counted(full.images, images)}, batch 1, ONNX Runtime", title_justify="left"
    )
    table.add_column("stops at")
    for column in ("accuracy", "mean MACs", "mean ms", "p99 ms", "speed-up"):
        table.add_column(column, justify="right")
    for point in shown:
        table.add_row(
            _how(point),
            percent(point.accuracy),
            engineering(point.macs),
            *(milliseconds(time or 0.0) for time in (point.latency_ms, point.latency_p99_ms)),
            f"{(full.latency_ms or 0.0) / (point.latency_ms or 1.0):.2f} ×",
        )
    print_table(table, console)
    if beaten := len(points) - len(shown):
        one = "threshold that another one or the full network beats, in accuracy or time, is"
        more = "thresholds that another one or the full network beats, in accuracy or time, are"
        console.out(f"{beaten} {one if beaten == 1 else more} only in tradeoff.csv")


def _how(point: Point) -> str:
    from edgemate.policies.descriptions import format_threshold

    above = "" if point.threshold is None else f"> {format_threshold(point.threshold)}"
    if point.kind == "threshold":
        return f"confidence {above}"
    if point.kind == "operating point":
        return f"{point.name}: {above}" if above else point.name
    return f"exit {point.exit}, one graph" if point.kind == "fixed exit" else "full network, one graph"
