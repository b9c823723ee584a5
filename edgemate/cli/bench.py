"""`edgemate bench`: how long every exit takes on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgemate.cli.console import make_console, print_table
from edgemate.cli.progress import Quiet, showing_progress
from edgemate.cli.screen import print_json

if TYPE_CHECKING:
    from edgemate.runtime import AnytimeClassifier, ExitLatency

FIGURES = ("p50", "p90", "p99", "mean")


def bench(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    repeats: Annotated[int, typer.Option(min=1, help="Rounds to time; every exit is timed once in each.")] = 200,
    warmup: Annotated[int, typer.Option(min=0, help="Rounds before that, not counted.")] = 20,
    batch: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 1,
    backend: Annotated[str, typer.Option(help="What runs the graphs.")] = "onnxruntime",
    threads: Annotated[int | None, typer.Option(help="CPU threads; all usable cores if absent.")] = None,
    device: Annotated[
        str | None, typer.Option(help="Keep it in the bundle as the latency table of a device of this name.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write the JSON to this file too.")] = None,
    quiet: Quiet = False,
) -> None:
    """Measure the latency of every exit on the bundle's golden images.

    Once as the segments up to the exit, one after another, which is what anytime use runs, and once as the exit's
    prefix, one graph; both in turn within each round. Reading and preparing images is not in it.

    With --device, `edgemate calibrate` can choose thresholds by the times of this device, and deadlines are kept by
    them. Measure while the machine is as busy as it will be.
    """
    import numpy as np

    from edgemate import files
    from edgemate.bundle import Bundle
    from edgemate.errors import UsageError
    from edgemate.latency_tables import check_tag, write_latency_table
    from edgemate.runtime import AnytimeClassifier, measure_exits, measure_stops

    # What can be told without the backend's library comes first: to import it takes time.
    Bundle.open(bundle)
    if output is not None:
        files.check_file(output)
    if device is not None:
        check_tag(device)
        if batch != 1:
            raise UsageError(f"--device: a latency table is of one image at a time, not of --batch {batch}")
    with (
        AnytimeClassifier.load(bundle, backend, threads=threads, verify=False) as segments,
        AnytimeClassifier.load(bundle, backend, threads=threads, verify=False, layout="prefixes") as prefixes,
        showing_progress(quiet, steps=False) as progress,
    ):
        golden = segments.bundle.golden().images
        images = np.resize(golden, (batch, *golden.shape[1:]))
        progress.step("timing every exit, round")
        measured = measure_exits(segments, prefixes, images, warmup=warmup, repeats=repeats, progress=progress)
        report = _report(segments, measured, batch, warmup)
        if device is not None:
            progress.step("timing stops at every exit, round")
            table = measure_stops(segments, golden, device=device, warmup=warmup, repeats=repeats, progress=progress)
            report["latency_table"] = write_latency_table(segments.bundle, table)
    if output is not None:
        files.write_json(output, report)
    if as_json:
        print_json(report)
    else:
        _print_table(report)


def _report(classifier: AnytimeClassifier, measured: list[ExitLatency], batch: int, warmup: int) -> dict[str, Any]:
    from dataclasses import asdict

    from edgemate.machine import machine_metadata
    from edgemate.runtime import slower_than_later

    return {
        "bundle": classifier.bundle.manifest.name,
        "machine": machine_metadata(()),
        "backend": classifier.backend.metadata(),
        "batch": batch,
        "warmup": warmup,
        "unit": "ms",
        "exits": [
            {
                "exit": metadata.exit,
                "name": metadata.name,
                "macs": metadata.macs,
                "chained_macs": metadata.chained_macs,
                "segments": asdict(latency.segments),
                "prefix": asdict(latency.prefix),
                "segments_over_prefix": latency.ratio,
            }
            for metadata, latency in zip(classifier.exits, measured, strict=True)
        ],
        "not_monotone": {
            layout: slower_than_later([getattr(latency, layout).p50 for latency in measured])
            for layout in ("segments", "prefix")
        },
    }


def _print_table(report: dict[str, Any]) -> None:
    from rich.table import Table

    from edgemate.cli.figures import NOT_MONOTONE

    console = make_console()
    table = Table(title=f"{report['bundle']}: ms per batch of {report['batch']}", title_justify="left")
    for column in ("exit", "graphs"):
        table.add_column(column)
    for column in (*FIGURES, "ratio"):
        table.add_column(column, justify="right")
    for row in report["exits"]:
        for layout, label, ratio in (
            ("segments", f"{row['exit']} {row['name']}", f"{row['segments_over_prefix']:.2f}"),
            ("prefix", "", ""),
        ):
            p50, *others = (f"{ms:.2f}" if ms >= 1 else f"{ms:.3f}" for ms in map(row[layout].get, FIGURES))
            mark = " !" if row["exit"] in report["not_monotone"][layout] else ""
            table.add_row(label, layout, p50 + mark, *others, ratio)
    print_table(table, console)
    if any(report["not_monotone"].values()):
        console.out(NOT_MONOTONE)
    metadata = {**report["machine"], **report["backend"]}
    console.out(", ".join(f"{key} {value}" for key, value in metadata.items()))
    if "latency_table" in report:
        console.out(f"kept in the bundle: {report['latency_table']}")
