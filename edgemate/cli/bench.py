"""`edgemate bench`: how long every exit takes on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgemate.cli.backend_options import BackendName, Threads
from edgemate.cli.console import make_console, print_table
from edgemate.cli.layouts import split_layouts
from edgemate.cli.progress import Quiet, showing_progress
from edgemate.cli.screen import print_json
from edgemate.cli.trust import TrustedKeys, TrustEngines

if TYPE_CHECKING:
    from rich.table import Table

    from edgemate.api import BenchReport

FIGURES = ("p50", "p90", "p99", "mean")


def bench(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    repeats: Annotated[int, typer.Option(min=1, help="Timed rounds; every exit is timed once per round.")] = 200,
    warmup: Annotated[int, typer.Option(min=0, help="Untimed rounds before these.")] = 20,
    batch: Annotated[int, typer.Option(min=1, help="Batch size; at most what engines were built for.")] = 1,
    layouts: Annotated[
        str | None,
        typer.Option(help="segments, prefixes or both, comma-separated; those that the bundle has if absent."),
    ] = None,
    backend: BackendName = "onnxruntime",
    threads: Threads = None,
    image: Annotated[
        Path | None,
        typer.Option(help="Image file to decode and prepare; a 1920×1080 JPEG of the golden images if absent."),
    ] = None,
    trusted_keys: TrustedKeys = None,
    trust_engines: TrustEngines = False,
    device: Annotated[
        str | None,
        typer.Option(help="Store the times in the bundle, as this device's latency table."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
    output: Annotated[Path | None, typer.Option(help="Also write the JSON to this file.")] = None,
    quiet: Quiet = False,
) -> None:
    """Measure the latency of every exit on the bundle's golden images.

    Once as the segments up to the exit, one after another, which is what anytime use runs, and once as the exit's
    prefix, one graph; both in turn within each round. The second table adds what comes before the network, decoding
    and preparing one image file, which early exit does not shorten.

    With --device, `edgemate calibrate` can choose thresholds by the times of this device, and deadlines are kept by
    them. Measure while the machine is as busy as it will be.
    """
    from edgemate import api, files
    from edgemate.output_place import check_output_file

    if output is not None:
        check_output_file(output)
    with showing_progress(quiet, steps=False) as progress:
        found = api.bench(
            bundle,
            repeats=repeats,
            warmup=warmup,
            batch=batch,
            layouts=None if layouts is None else split_layouts(layouts),
            backend=backend,
            threads=threads,
            trusted_keys=trusted_keys,
            trust_engines=trust_engines,
            device=device,
            image=image,
            progress=progress,
        )
    if output is not None:
        files.write_json(output, found.to_json())
    if as_json:
        print_json(found.to_json())
    else:
        _print_table(found)


def _print_table(report: BenchReport) -> None:
    from rich.table import Table

    from edgemate.cli.figures import NOT_MONOTONE

    console = make_console()
    table = Table(title=f"{report.bundle}: ms per batch of {report.batch}", title_justify="left")
    for column in ("exit", "graphs"):
        table.add_column(column)
    for column in (*FIGURES, "ratio"):
        table.add_column(column, justify="right")
    for exit in report.exits:
        label = f"{exit.exit} {exit.name}"
        ratio = "" if exit.segments_over_prefix is None else f"{exit.segments_over_prefix:.2f}"
        for layout, latency in (("segments", exit.segments), ("prefix", exit.prefix)):
            if latency is None:
                continue
            times = (getattr(latency, figure) for figure in FIGURES)
            p50, *others = (f"{ms:.2f}" if ms >= 1 else f"{ms:.3f}" for ms in times)
            mark = " !" if exit.exit in report.not_monotone[layout] else ""
            table.add_row(label, layout, p50 + mark, *others, ratio)
            label = ratio = ""
    print_table(table, console)
    print_table(_totals(report), console)
    if any(report.not_monotone.values()):
        console.out(NOT_MONOTONE)
    whole = "as one graph" if report.exits[-1].prefix is not None else "as all its segments"
    console.out(f"input: {report.input.image}; faster: than the whole network {whole}, alone and in all")
    metadata = {**report.machine, **report.backend}
    console.out(", ".join(f"{key} {value}" for key, value in metadata.items()))
    power = report.power.get("value")
    if power is not None:
        console.out(
            f"power of {power['scope']} by {power['sensor']}: idle {power['idle_watts']:.1f} W, busy "
            f"{power['busy_watts']:.1f} W, {power['millijoules']:.3g} mJ per image"
        )
    for warning in report.warnings:
        console.out(f"warning: {warning}")
    if report.latency_table is not None:
        console.out(f"stored in the bundle: {report.latency_table}")


def _totals(report: BenchReport) -> Table:
    from rich.table import Table

    from edgemate.cli.figures import milliseconds

    table = Table(title="ms of one image, p50, from file to answer", title_justify="left")
    table.add_column("exit")
    for column in ("decode", "prepare", "network", "total", "faster", "in all"):
        table.add_column(column, justify="right")
    for exit in report.exits:
        table.add_row(
            f"{exit.exit} {exit.name}",
            milliseconds(report.input.decode.p50),
            milliseconds(report.input.prepare.p50),
            milliseconds(exit.network_ms),
            milliseconds(exit.total_ms),
            f"{exit.speedup:.2f}×",
            f"{exit.total_speedup:.2f}×",
        )
    return table
