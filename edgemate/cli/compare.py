"""`edgemate compare`: one recipe, several methods, several seeds → one fair table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgemate.cli.console import is_screen, make_console
from edgemate.cli.progress import Quiet, showing_progress


def compare(
    recipe: Annotated[str, typer.Argument(help="Recipe that all runs share: a file, or the name of a shipped recipe.")],
    methods: Annotated[
        str,
        typer.Option(
            help="Methods, comma-separated: mate, 'mate:proximity=0;alpha=2', joint_ce, mate+gradient_equilibrium …"
        ),
    ],
    seeds: Annotated[str, typer.Option(help="Seeds, comma-separated.")] = "0,1,2",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a value of the recipe; repeatable.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the runs; comparisons/NAME if absent.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings that run at the same time and share the cores.")] = 1,
    quiet: Quiet = False,
) -> None:
    """Train every method with every seed, all else being equal, and write a table, a plot and JSON.

    Stopped at any moment, the same command continues where it was. On few cores, one job per core is fastest.
    """
    from edgemate import api
    from edgemate.errors import UsageError

    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError as error:
        raise UsageError(f"seeds {seeds}: should be comma-separated integers, such as 0,1,2") from error
    console = make_console()

    def notify(line: str) -> None:
        console.out(line)

    with showing_progress(quiet, steps=False) as progress:
        compared = api.compare(
            recipe,
            methods,
            seeds=numbers,
            output=output,
            overrides=overrides or [],
            jobs=jobs,
            notify=None if quiet else notify,
            progress=progress,
        )
    folder = compared.path
    found = (folder / "comparison.md").read_text(encoding="utf-8")
    if is_screen():
        from rich.markdown import Markdown

        console.print(Markdown(found))
    else:  # Markdown fills the whole width of a line, and none is too wide for a pipe
        console.out(found)
    notify(f"written: {', '.join(str(folder / f'comparison.{kind}') for kind in ('html', 'json', 'md', 'png'))}")
