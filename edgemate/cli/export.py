"""`edgemate export`: run → bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgemate.bundle.manifest import Layout
    from edgemate.export import Exported


def export(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    target: Annotated[str, typer.Option(help="What the bundle is for: onnx or trt.")] = "onnx",
    output: Annotated[Path | None, typer.Option(help="The bundle's folder; bundles/NAME if absent.")] = None,
    layouts: Annotated[
        str, typer.Option(help="How the network is cut into graphs, comma-separated: segments, prefixes.")
    ] = "segments,prefixes",
    tolerance: Annotated[
        float,
        typer.Option(help="Largest difference from the network, in units of the exit's largest logit (at least of 1)."),
    ] = 1e-3,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there already.")] = False,
) -> None:
    """Make the bundle of a run, checked against the network on real pictures before anything is left on disk."""
    from edgemate.cli.progress import showing_steps
    from edgemate.errors import UsageError
    from edgemate.export import ExportOptions, Limits, export_run
    from edgemate.runs import Run

    if not tolerance > 0:
        raise UsageError(f"--tolerance {tolerance:g}: must be above 0, such as 1e-3")
    opened = Run.open(run)
    with showing_steps() as tell:
        exported = export_run(
            opened,
            output or Path("bundles") / opened.name,
            target=target,
            options=ExportOptions(
                layouts=_layouts(layouts), limits=Limits(difference=tolerance), overwrite=force, tell=tell
            ),
        )
    _print_table(exported, output or Path("bundles") / opened.name)


def _layouts(given: str) -> tuple[Layout, ...]:
    from typing import get_args

    from edgemate.bundle.manifest import Layout
    from edgemate.errors import UsageError

    known = {str(layout): layout for layout in get_args(Layout)}
    names = [name.strip() for name in given.split(",")]
    if not set(names) <= set(known) or len(set(names)) != len(names):
        raise UsageError(f"--layouts {given!r}: name some of {', '.join(known)}, each once, with commas between")
    return tuple(known[name] for name in names)


def _print_table(exported: Exported, path: Path) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from edgemate.cli.figures import engineering, percent

    manifest = exported.bundle.manifest
    pictures = next(iter(exported.agreement.values()))[0].pictures
    table = Table(
        title=f"{escape(manifest.name)}: {' and '.join(exported.agreement)} against the network on {pictures} pictures",
        title_justify="left",
    )
    table.add_column("exit")
    table.add_column("MACs", justify="right")
    table.add_column("test accuracy", justify="right")
    table.add_column("largest difference", justify="right")
    table.add_column("its limit", justify="right")
    table.add_column("top-1 agreement", justify="right")
    for facts in manifest.exits:
        found = [of_layout[facts.exit - 1] for of_layout in exported.agreement.values()]
        table.add_row(
            f"{facts.exit} {escape(facts.name)}",
            engineering(facts.macs),
            percent(facts.accuracy["test"]),
            f"{max(agreement.largest_difference for agreement in found):.1e}",
            f"{found[0].limit:.1e}",
            percent(min(agreement.agreement for agreement in found)),
        )
    console = Console()
    console.print(table)
    size = sum(facts.bytes for facts in manifest.files.values())
    console.print(
        f"bundle: {path} ({len(manifest.files)} files, {engineering(size)}B)   next: edgemate classify {path} PICTURE",
        markup=False,
        highlight=False,
    )
