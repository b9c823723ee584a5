"""`edgemate profile`: what every exit and operating point of a run costs and gives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgemate.cli.console import make_console, print_table
from edgemate.cli.count_tables import count_files, print_counts
from edgemate.cli.progress import Quiet, showing_progress
from edgemate.cli.screen import print_json
from edgemate.wording import counted

if TYPE_CHECKING:
    from rich.console import Console

    from edgemate.profiling import Point, Profile


def profile(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    images: Annotated[int, typer.Option(min=1, help="Test images to classify for the latency curve.")] = 500,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all usable cores if absent.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Timed calls per exit.")] = 100,
    layers: Annotated[bool, typer.Option("--layers", help="List the layers, also in layers.csv.")] = False,
    device_spec: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Estimate the latency floor on orin-nano, orin-nx, agx-orin, thor or the device of a YAML file; "
            "repeatable.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    quiet: Quiet = False,
) -> None:
    """Count, score and time every exit of a run; write profile.json, tradeoff.csv and tradeoff.png into it.

    Times are of this machine's CPU at batch 1, in PyTorch and in ONNX Runtime.
    """
    from edgemate import api
    from edgemate.runs import Run

    with showing_progress(quiet) as progress:
        found = api.profile(
            run,
            images=images,
            threads=threads,
            repeats=repeats,
            layers=layers,
            device_specs=device_spec or (),
            progress=progress,
        )
    if as_json:
        print_json(found.to_json())
        return
    console = make_console()
    _print_exits(found, console)
    _print_points(found, console)
    folder = Run(run)
    written = [folder.profile_path, folder.tradeoff_csv_path, folder.tradeoff_png_path]
    if found.counts is not None:
        print_counts(found.counts, [exit.name for exit in found.exits], console)
        written += count_files(found.counts, folder.path)
    console.out(f"written: {', '.join(str(path) for path in written)}")
    console.out(f"next: edgemate export {run} --target onnx")


def _print_exits(profile: Profile, console: Console) -> None:
    from rich.table import Table

    from edgemate.cli.figures import NOT_MONOTONE, engineering, milliseconds, percent
    from edgemate.profiling.less_accurate import less_accurate_warning

    costs = Table(title=f"{profile.run}: what every exit costs", title_justify="left")
    costs.add_column("exit")
    for column in ("MACs", "FLOPs", "MACs as segments", "parameters", "peak memory"):
        costs.add_column(column, justify="right")
    title = f"what it gives; median ms at batch 1, {profile.machine['processor']}, {counted(profile.threads, 'thread')}"
    gives = Table(title=title, title_justify="left")
    gives.add_column("exit")
    top5 = ["top-5"] if profile.exits[0].top5 is not None else []
    for column in ("accuracy", *top5, "ECE", "PyTorch", "ONNX Runtime", "ONNX Runtime, as segments"):
        gives.add_column(column, justify="right")
    for exit in profile.exits:
        name = f"{exit.exit} {exit.name}"
        costs.add_row(
            name,
            *(engineering(count) for count in (exit.macs, exit.flops, exit.chained_macs, exit.parameters)),
            engineering(exit.peak_activation_bytes, "B"),
        )
        times = (
            milliseconds(getattr(exit, column).p50) + (" !" if exit.exit in marked else "")
            for column, marked in profile.not_monotone.items()
        )
        more = [] if exit.top5 is None else [percent(exit.top5)]
        gives.add_row(name, percent(exit.accuracy), *more, f"{exit.ece:.3f}", *times)
    print_table(costs, console)
    print_table(gives, console)
    if any(profile.not_monotone.values()):
        console.out(NOT_MONOTONE)
    console.out(f"ensemble of all exits: accuracy {percent(profile.ensemble_accuracy)}")
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
    table = Table(
        title=f"measured on {counted(full.images, 'test image')}, batch 1, ONNX Runtime", title_justify="left"
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
