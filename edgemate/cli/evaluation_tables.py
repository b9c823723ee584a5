"""What `edgemate evaluate` found, as tables that fit 80 columns and cut no figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgemate.cli.console import make_console, print_table
from edgemate.wording import counted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_LEGEND = (
    "gap: points of accuracy measured over those predicted, ± its standard error; drop: points below the whole "
    "network, on the same images",
    "decode: reading and decoding; prepare: resize, crop and normalization; faster: than the whole network",
    "* a gap of more than 0.3 points, or of 10 % of a time; ** and of more than two standard errors",
)


def print_report(report: dict[str, Any]) -> None:
    """Print tables, whose times are meant, warnings, and where fractions or probabilities left their range."""
    console = make_console()
    if "statistics" not in report:
        print_table(_accuracies(report), console)
        print_table(_times(report), console)
        print_table(_totals(report), console)
        metadata = {**report["machine"], **report["backend"]}
        _say(console, *_LEGEND, ", ".join(f"{key} {value}" for key, value in metadata.items()))
        times = report["predicted_times"]
        if times is not None and not times["differences"]:
            settings = ", ".join(f"{key} {value}" for key, value in report["backend"].items())
            _say(console, f"times predicted for {times['device']} ({settings})")
    for warning in report.get("warnings", ()):
        _say(console, f"warning: {warning}")
    for row in report["points"]:
        for alert in row["drift_alerts"]:
            _say(console, f"warning: {row['name']}: {alert}; thresholds picked on other images do not hold")
        if not row["drift_alerts"]:
            _say(console, f"{row['name']}: fractions and probability are within what was calibrated")


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.out(line)


def _table(title: str, *figures: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("point")
    table.add_column("", no_wrap=True)
    for column in figures:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _accuracies(report: dict[str, Any]) -> Table:

    from edgemate.cli.figures import fractions_of

    exits = len(report["points"][0]["predicted"]["fractions"])
    title = f"{report['bundle']}: accuracy on {counted(report['images'], 'image')}, and where they stop"
    table = _table(title, "accuracy", "gap", "drop")
    table.add_column(f"% at exits 1 to {exits}", justify="right", overflow="fold")
    for row in report["points"]:
        predicted = row["predicted"]
        table.add_row(
            row["name"],
            "predicted",
            _percent(predicted["accuracy"]),
            "",
            _points(predicted["drop"]),
            fractions_of(predicted["fractions"]),
        )
        for found in row["measured"]:
            gap = _gap(row) if found["batch"] == 1 else ""
            cells = (_percent(found["accuracy"]), gap, _points(found["drop"]), fractions_of(found["fractions"]))
            table.add_row("", f"batch {found['batch']}", *cells)
    return table


def _times(report: dict[str, Any]) -> Table:

    table = _table("ms of a batch, from ready tensor to answers", "mean ms", "p50 ms", "p99 ms", "per image")
    for row in report["points"]:
        predicted = row["predicted"]
        mean, p99 = _time(predicted["mean_ms"]), _time(predicted["p99_ms"])
        if mean != "–":
            table.add_row(row["name"], "predicted", mean, "", p99, mean)
        for number, found in enumerate(row["measured"]):
            mark = dict.fromkeys(row["gaps"], " *") if found["batch"] == 1 else {}
            table.add_row(
                row["name"] if mean == "–" and not number else "",
                f"batch {found['batch']}",
                _time(found["mean_ms"]) + mark.get("mean_ms", ""),
                _time(found["p50_ms"]),
                _time(found["p99_ms"]) + mark.get("p99_ms", ""),
                _time(found["ms_per_image"]),
            )
    return table


def _totals(report: dict[str, Any]) -> Table:

    table = _table("ms of an image, from file or array to answer", "decode", "prepare", "network", "total")
    for column in ("faster", "in all"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in report["points"]:
        for number, found in enumerate(row["measured"]):
            times = (found[key] for key in ("decode_ms", "prepare_ms", "ms_per_image", "total_ms"))
            ratios = (found[key] for key in ("speedup", "total_speedup"))
            table.add_row(
                row["name"] if not number else "",
                f"batch {found['batch']}",
                *map(_time, times),
                *("–" if ratio is None else f"{ratio:.2f}×" for ratio in ratios),
            )
    return table


def _gap(row: dict[str, Any]) -> str:
    gap = row["accuracy_gap"]
    if gap is None:
        return ""
    error = "" if gap["standard_error"] is None else f" ± {100 * gap['standard_error']:.2f}"
    mark = (" **" if gap["beyond_chance"] else " *") if "accuracy" in row["gaps"] else ""
    return f"{100 * gap['gap']:+.2f}{error}{mark}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f} %"


def _points(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"


def _time(value: float | None) -> str:
    from edgemate.cli.figures import milliseconds

    return "–" if value is None else milliseconds(value)
