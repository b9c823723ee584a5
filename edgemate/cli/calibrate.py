"""`edgemate calibrate`: temperatures and operating points from the logits of the calibration split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgemate.cli.console import make_console, print_table
from edgemate.cli.progress import Quiet, showing_progress
from edgemate.cli.screen import print_json
from edgemate.cli.thresholds import parse_thresholds
from edgemate.cli.trust import AllowPlugins, TrustedKeys
from edgemate.wording import counted

if TYPE_CHECKING:
    from rich.console import Console

    from edgemate.api import Calibration
    from edgemate.calibration import OperatingPoints

_PREFIXES = {"k": 1e3, "M": 1e6, "G": 1e9}


def calibrate(
    path: Annotated[Path, typer.Argument(help="A bundle's or a run's folder.")],
    max_accuracy_drop: Annotated[
        float | None, typer.Option(help="Add a point that loses at most this many points of accuracy on the split.")
    ] = None,
    mean_latency_ms: Annotated[
        float | None, typer.Option(help="Add a point that takes at most this many milliseconds per image on average.")
    ] = None,
    mean_macs: Annotated[
        str | None, typer.Option(help="Add a point that takes at most this many chained MACs on average, such as 40M.")
    ] = None,
    risk: Annotated[
        float | None,
        typer.Option(help="Add a point certified to lose at most this fraction of accuracy: 0.01 is one point."),
    ] = None,
    delta: Annotated[
        float | None,
        typer.Option(help="Probability, over random splits, that --risk is exceeded; 0.05 if not given."),
    ] = None,
    thresholds: Annotated[
        str | None,
        typer.Option(
            help="Add a point that stops above these scores, with entropy below them: one per exit but the last, such "
            "as 0.9,0.8."
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Reduce the latency of this device, as `edgemate bench --device` measured it.")
    ] = None,
    solver: Annotated[
        str, typer.Option(help="Threshold solver: direct, common, msdnet, eenet or patience.")
    ] = "direct",
    score: Annotated[
        str | None,
        typer.Option(help="Score to compare with thresholds: confidence (default), entropy or margin."),
    ] = None,
    trusted_keys: TrustedKeys = None,
    temperatures: Annotated[
        bool, typer.Option(help="Fit a temperature per exit. The conditional layout does not support them.")
    ] = True,
    allow_plugins: AllowPlugins = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    quiet: Quiet = False,
) -> None:
    """Choose when to stop; write policies.json into the run or bundle.

    It holds the operating points fast, balanced and accurate, which lose at most 2, 0.5 and 0 points of accuracy on the
    calibration split, full, which is the whole network, and a further one for each goal given: drop, latency, macs,
    guaranteed, custom (--thresholds). Points of an earlier call are not kept, so give all goals at once. Where a solver
    cannot reach a goal, the output and policies.json say so. A bundle holds what they are chosen from, so this works on
    the device too.
    """
    from edgemate import api

    macs = None if mean_macs is None else _macs(mean_macs)
    with showing_progress(quiet) as progress, progress.unattended():
        found = api.calibrate(
            path,
            max_accuracy_drop=max_accuracy_drop,
            mean_latency_ms=mean_latency_ms,
            mean_macs=macs,
            risk=risk,
            delta=delta,
            thresholds=None if thresholds is None else parse_thresholds(thresholds),
            device=device,
            solver=solver,
            score=score,
            temperatures=temperatures,
            trusted_keys=trusted_keys,
            allow_plugins=allow_plugins,
            progress=progress,
        )
    if as_json:
        print_json(found.to_json())
    else:
        _print(found, make_console())


def _macs(given: str) -> float:
    from edgemate.errors import UsageError

    number, factor = (given[:-1], _PREFIXES[given[-1]]) if given[-1:] in _PREFIXES else (given, 1.0)
    try:
        return float(number) * factor
    except ValueError:
        raise UsageError(f"mean_macs {given!r}: give a number of MACs, such as 40M or 1.5G") from None


def _print(found: Calibration, console: Console) -> None:
    points = found.points
    if points.temperatures is not None:
        _print_temperatures(points, console)
    _print_points(points, console)
    costs = "MACs (no latency table used)" if points.device is None else f"the latency table of {points.device}"
    split = counted(points.points[0].images or 0, "image")
    lines = [f"costs: {costs}; simulated on the {split} they were chosen on"]
    lines += [f"warning: {warning}" for warning in found.warnings]
    for point in points.points:
        if point.guarantee is not None:
            bound = point.guarantee
            lines.append(
                f"{point.name}: {point.goal}, for images like these; tested on {bound.images:,}, "
                f"of which stopping early lost {bound.lost} and gained {bound.gained}"
            )
        if not point.goal_reached and point.name not in found.required_samples:
            lines.append(
                f"warning: {point.name}: {point.goal} was NOT reached: solver {point.solver!r} has nothing that does; "
                "the closest was taken"
            )
        if point.name in found.required_samples:
            required = found.required_samples[point.name]
            how_many = (
                "how many are required cannot be estimated" if required is None else f"about {required:,} are required"
            )
            lines.append(
                f"{point.name}: {split} are too few to certify {point.goal}; {how_many}; "
                "until then this point is the whole network"
            )
    lines.append(f"written: {found.path}")
    for line in lines:
        console.out(line)


def _print_temperatures(points: OperatingPoints, console: Console) -> None:
    from rich.table import Table

    table = Table(title="temperatures", title_justify="left")
    for column in ("exit", "temperature", "ECE before", "ECE after", "NLL before", "NLL after"):
        table.add_column(column, justify="right", no_wrap=True)
    for exit in points.temperatures or ():
        numbers = (exit.ece_before, exit.ece_after, exit.nll_before, exit.nll_after)
        table.add_row(str(exit.exit), f"{exit.temperature:.3f}", *(f"{number:.4f}" for number in numbers))
    print_table(table, console)


def _print_points(points: OperatingPoints, console: Console) -> None:
    from rich.table import Table

    from edgemate.cli.figures import engineering, fractions_of, milliseconds, percent

    exits = len(points.points[0].expected.fractions)
    timed = points.device is not None
    table = Table(title="operating points", title_justify="left")
    table.add_column("name")
    for column in ("accuracy", "mean MACs", *(("mean ms", "p99 ms") if timed else ())):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column(f"% at exits 1 to {exits}", justify="right", overflow="fold")
    chosen = Table(title="thresholds", title_justify="left")
    chosen.add_column("name")
    for column in ("stops at", "for"):
        chosen.add_column(column, overflow="fold")
    for point in points.points:
        expected = point.expected
        how = point.as_policy().description
        chosen.add_row(point.name, how, point.goal if point.goal_reached else f"{point.goal}: not reached")
        times = (milliseconds(expected.mean_ms or 0.0), milliseconds(expected.p99_ms or 0.0)) if timed else ()
        table.add_row(
            point.name,
            percent(expected.accuracy),
            engineering(expected.mean_macs),
            *times,
            fractions_of(expected.fractions),
        )
    print_table(table, console)
    print_table(chosen, console)
