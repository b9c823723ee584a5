"""What every exit does, in all and by class, as tables."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgemate.cli.console import make_console, print_table
from edgemate.wording import counted, shortened

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from edgemate.core.class_report import ClassReport

SHOWN = 20
"""Most classes, and most confusions, that a table has; a larger matrix is shown as a list."""


def print_exits(report: ClassReport, evaluation: dict[str, Any], *, per_class: bool, confusion: bool) -> None:
    """Print top-1 and top-5 of every exit, and on demand its classes and confusions.

    Args:
        report: of the exits.
        evaluation: what it is part of, as JSON values: of a run with its name, split and cuts.
        per_class: a table of classes per exit, the worst ones first.
        confusion: a matrix per exit, or a list where there are more than `SHOWN` classes.
    """
    console = make_console()
    report = replace(report, classes=tuple(map(shortened, report.classes)))
    cuts = evaluation.get("cuts") or [""] * report.exits
    names = [shortened(f"{k + 1} {cut}".rstrip()) for k, cut in enumerate(cuts)]
    print_table(_overview(report, evaluation, names), console)
    for k, name in enumerate(names):
        if per_class:
            _print_classes(report, k + 1, name, console)
        if confusion and len(report.classes) <= SHOWN:
            print_table(_matrix(report, k + 1, name), console)
        elif confusion:
            _print_confusions(report, k + 1, name, console)


def _overview(report: ClassReport, evaluation: dict[str, Any], names: list[str]) -> Table:
    from edgemate.cli.figures import percent

    images = counted(report.images, "image")
    place = f"{evaluation['run']}, {evaluation['split']} split: " if "run" in evaluation else ""
    top5 = report.top5
    table = _table(
        f"{place}every exit on {images}", "exit", "top-1", *([] if top5 is None else ["top-5"]), "worst class"
    )
    for k, name in enumerate(names):
        worst = report.worst_first(k + 1)[0]
        shown = f"{report.classes[worst]}, {percent(report.class_accuracy[k, worst])}"
        table.add_row(name, percent(report.top1[k]), *([] if top5 is None else [percent(top5[k])]), shown)
    return table


def _print_classes(report: ClassReport, exit: int, name: str, console: Console) -> None:
    from edgemate.cli.figures import percent

    table = _table(f"exit {name}: classes, worst first", "class", "images", "accuracy", "most often taken for")
    worst = report.worst_first(exit)
    mistaken: dict[int, tuple[int, int]] = {}
    for label, named, images in report.confusions(exit):
        mistaken.setdefault(label, (named, images))
    for label in worst[:SHOWN]:
        named, images = mistaken.get(label, (0, 0))
        table.add_row(
            report.classes[label],
            f"{report.class_images[label]:,}",
            percent(report.class_accuracy[exit - 1, label]),
            f"{report.classes[named]} ({images:,}×)" if images else "",
        )
    print_table(table, console)
    _say_rest(len(worst) - SHOWN, "class", console)


def _matrix(report: ClassReport, exit: int, name: str) -> Table:
    table = _table(f"exit {name}: images by class (row) and answer (column)", "class", *report.classes)
    for label, row in zip(report.classes, report.confusion[exit - 1].tolist(), strict=True):
        table.add_row(label, *(f"{images:,}" if images else "·" for images in row))
    return table


def _print_confusions(report: ClassReport, exit: int, name: str, console: Console) -> None:
    from edgemate.cli.figures import percent

    table = _table(f"exit {name}: most frequent confusions", "class", "taken for", "images", "of the class")
    found = report.confusions(exit)
    for label, named, images in found[:SHOWN]:
        fraction = images / report.class_images[label]
        table.add_row(report.classes[label], report.classes[named], f"{images:,}", percent(fraction))
    print_table(table, console)
    _say_rest(len(found) - SHOWN, "confusion", console)


def _say_rest(rest: int, what: str, console: Console) -> None:
    if rest > 0:
        console.out(f"and {counted(rest, what)} more; --json has all")


def _table(title: str, first: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table
