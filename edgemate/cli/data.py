"""`edgemate data`: what a recipe's dataset holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edgemate.cli.console import make_console, print_table
from edgemate.cli.progress import Quiet, showing_progress
from edgemate.cli.screen import say
from edgemate.cli.trust import AllowPlugins

if TYPE_CHECKING:
    from edgemate.data.inspection import DataReport

data = typer.Typer(help="Check the images of a recipe.", no_args_is_help=True)

_SHOWN = 20


@data.callback()
def _data() -> None: ...  # with one command alone, typer would leave its name out


@data.command()
def check(
    recipe: Annotated[str, typer.Argument(help="A recipe's file, or the name of a shipped recipe.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a value of the recipe; repeatable.")
    ] = None,
    allow_plugins: AllowPlugins = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    quiet: Quiet = False,
) -> None:
    """Decode every image of a recipe's splits, and report what there is and what is wrong.

    Counts per split and class, class balance, sizes, formats, damaged and ignored files, the same image in more than
    one split or with more than one label, and classes with few images. The exit code is 1 where an image is damaged.
    """
    from edgemate.cli.screen import print_json
    from edgemate.config import load_recipe
    from edgemate.config.shipped import find_recipe
    from edgemate.data.inspection import inspect_data
    from edgemate.plug_ins import allowed_in_runs

    with allowed_in_runs(allow_plugins):
        section = load_recipe(find_recipe(recipe), overrides or []).data
    with showing_progress(quiet, steps=False) as progress, progress.unattended():
        progress.step("reading the dataset")
        report = inspect_data(section, progress)
    if as_json:
        print_json(report.to_json())
    else:
        _print_report(report)
    if report.damaged:
        raise typer.Exit(1)


def _print_report(report: DataReport) -> None:
    from rich.table import Table

    metadata = report.to_json()
    table = Table(title=report.dataset, title_justify="left")
    table.add_column("images", overflow="fold")
    for name in report.counts:
        table.add_column(name, justify="right")
    for k, label in enumerate(report.classes):
        table.add_row(label, *(f"{counts[k]:,}" for counts in report.counts.values()))
    table.add_section()
    table.add_row("all", *(f"{counts.sum():,}" for counts in report.counts.values()))
    print_table(table, make_console())
    for name, (least, most) in report.balance.items():
        small, large = int(report.counts[name][least]), int(report.counts[name][most])
        ratio = f", 1 : {large / small:.3g}" if small else ""
        say(f"balance in {name}: {report.classes[least]} {small:,} to {report.classes[most]} {large:,}{ratio}")
    for side in ("width", "height"):
        if metadata[side]:
            least, median, most = metadata[side]
            say(f"{side}: {least:g} to {most:g} pixels, median {median:g}")
    say("stored as: " + ", ".join(f"{count:,} {kind}" for kind, count in metadata["kinds"].items()))
    if metadata["with_transparency"]:
        say(f"transparency: in {metadata['with_transparency']:,} images; it is dropped")
    for note in report.notes:
        say(note)
    few = [f"{name} ({count} in {where})" for name, where, count in report.few]
    _print_list("classes with few images", few)
    _print_list("left out by skip_damaged", metadata["left_out"])
    same = [" = ".join(f"{one.split}: {one.name}" for one in group) for group in report.duplicates]
    _print_list("in more than one split", same)
    named = report.classes
    different = [" = ".join(f"{named[one.label]}: {one.name}" for one in group) for group in report.conflicts]
    _print_list("same image, different labels", different)
    _print_list("damaged", [f"{one.split}: {one.problem}" for one in report.damaged], most=None)


def _print_list(title: str, lines: list[str], most: int | None = _SHOWN) -> None:
    """A heading with the number of lines, and the lines; beyond `most` they are only counted."""
    say(f"{title}: {len(lines):,}" if lines else f"{title}: none")
    for line in lines[:most]:
        say(f"  {line}")
    if most is not None and len(lines) > most:
        say(f"  and {len(lines) - most:,} more; --json has all")
