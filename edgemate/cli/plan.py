"""`edgemate plan`: what exits would cost at every cut point of a network, before any training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edgemate.cli.console import make_console, print_table
from edgemate.cli.progress import Quiet, showing_progress
from edgemate.cli.screen import print_json
from edgemate.wording import counted

if TYPE_CHECKING:
    from rich.console import Console

    from edgemate.models.plan_result import Plan, PlannedCut


def plan(
    network: Annotated[
        str,
        typer.Argument(
            help="timm/NAME, torchvision/NAME, a registered backbone, your own my_pkg.my_mod:MyNet, a recipe's file or "
            "a shipped recipe."
        ),
    ],
    image_size: Annotated[
        int | None, typer.Option(min=4, help="Height and width, px; the recipe's or the network's own if absent.")
    ] = None,
    channels: Annotated[
        int | None, typer.Option(min=1, help="Channels of the image; the recipe's or 3 if absent.")
    ] = None,
    classes: Annotated[int | None, typer.Option(min=2, help="The recipe's or the network's own if absent.")] = None,
    exits: Annotated[
        int | None,
        typer.Option(min=1, help="Exits to place at near-equal steps of MACs; the recipe's or 4 if absent."),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(help="Head of every exit, with default options; the recipe's or separable if absent."),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a value of the recipe; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    quiet: Quiet = False,
) -> None:
    """Show every cut point of a network with MACs, parameters, features and heads, and where exits would be placed."""
    from edgemate import api

    with showing_progress(quiet) as progress:
        found = api.plan(
            network,
            image_size=image_size,
            channels=channels,
            classes=classes,
            exits=exits,
            head=head,
            overrides=overrides or (),
            progress=progress,
        )
    if as_json:
        print_json(found.to_json())
        return
    _print(found, make_console())


def _print(found: Plan, console: Console) -> None:
    from rich.table import Table

    from edgemate.cli.figures import engineering, percent

    channels, height, width = found.image
    source = f" ({found.recipe})" if found.recipe else ""
    title = f"{found.network}{source}: {channels}×{height}×{width}, {counted(found.classes, 'class')}"
    table = Table(title=title, title_justify="left")
    table.add_column("exit", justify="right")
    table.add_column("cut point", overflow="fold")
    for column in ("MACs so far, M", "of all", "parameters", "features", "layout", "bytes that cross"):
        table.add_column(column, justify="left" if column == "layout" else "right")
    several = any(cut.tensors > 1 for cut in found.cuts)
    if several:
        table.add_column("tensors", justify="right")
    table.add_column(f"{found.head} head, M MACs", justify="right")
    for cut in found.cuts:
        table.add_row(
            "" if cut.exit is None else str(cut.exit),
            f"{cut.name} ({', '.join(cut.aliases)})" if cut.aliases else cut.name,
            _millions(cut.macs),
            percent(cut.macs_fraction),
            engineering(cut.parameters),
            "×".join(map(str, cut.shape)),
            cut.layout.replace("_", " "),
            engineering(cut.bytes, "B"),
            *([str(cut.tensors)] if several else []),
            _head(cut),
            style="bold" if cut.exit is not None else None,
        )
    print_table(table, console)
    last = "its own classifier" if found.own_classifier else f"a {found.head} head at its end"
    console.out(f"in all: {engineering(found.macs)} MACs and {engineering(found.parameters)} parameters, with {last}")
    exits = ", ".join(f"{cut.exit} {cut.name} ({percent(cut.macs_fraction)})" for cut in found.exits)
    console.out(f"exits: {exits}")
    for warning in found.warnings:
        console.out(f"warning: {warning}")
    for problem in sorted({cut.head_problem for cut in found.cuts if cut.head_problem}):
        console.out(f"no head: {problem}")


def _head(cut: PlannedCut) -> str:
    if cut.head_macs is None:
        return "none"
    return f"{_millions(cut.head_macs)}{' own' if cut.own_classifier else ''}"


def _millions(macs: int) -> str:
    """MACs in millions, so that a column of them can be compared: 12345678 → `12.35`."""
    return f"{macs / 1e6:,.2f}"
