"""`edgemate compare`: one recipe, several methods, several seeds → one fair table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgemate.cli.progress import Quiet, showing_progress


def compare(
    recipe: Annotated[str, typer.Argument(help="What all runs share: a file, or the name of a shipped recipe.")],
    methods: Annotated[
        str,
        typer.Option(
            help="Methods, parted by commas: mate, 'mate:proximity=0;alpha=2', joint_ce, mate+gradient_equilibrium …"
        ),
    ],
    seeds: Annotated[str, typer.Option(help="Seeds, parted by commas.")] = "0,1,2",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Lay a value over the recipe; repeatable.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the runs; comparisons/NAME if absent.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at the same time, which share the cores.")] = 1,
    quiet: Quiet = False,
) -> None:
    """Train every method with every seed, all else being equal, and write a table, a plot and JSON.

    Stopped at any moment, the same command goes on where it was. On few cores, one job per core is fastest.
    """
    from rich.console import Console
    from rich.markdown import Markdown

    from edgemate.config.shipped import find_recipe, run_name
    from edgemate.errors import UsageError

    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError as error:
        raise UsageError(f"--seeds {seeds}: should be whole numbers parted by commas, such as 0,1,2") from error

    from edgemate.comparison import compare as compare_methods
    from edgemate.comparison import parse_variants

    path = find_recipe(recipe)
    folder = output or Path("comparisons") / run_name(path)
    console = Console()

    def tell(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    variants = parse_variants(methods)
    with showing_progress(quiet, steps=False) as progress:
        compare_methods(
            path,
            variants,
            numbers,
            folder,
            overrides=overrides or [],
            jobs=jobs,
            tell=(lambda line: None) if quiet else tell,
            progress=progress,
        )
    console.print(Markdown((folder / "comparison.md").read_text(encoding="utf-8")))
    tell(f"written: {', '.join(str(folder / f'comparison.{kind}') for kind in ('json', 'md', 'png'))}")
