"""`edgemate compare`: one recipe, several methods, several seeds → one fair table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgemate.cli.console import is_screen, make_console
from edgemate.cli.progress import Quiet, showing_progress


def compare(
    recipe: Annotated[str, typer.Argument(help="What all runs share: a file, or the name of a shipped recipe.")],
    methods: Annotated[
        str,
        typer.Option(
            help="Methods, comma-separated: mate, 'mate:proximity=0;alpha=2', joint_ce, mate+gradient_equilibrium …"
        ),
    ],
    seeds: Annotated[str, typer.Option(help="Seeds, comma-separated.")] = "0,1,2",
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
    from edgemate.comparison import parse_variants
    from edgemate.comparison.plan import plan_comparison
    from edgemate.config.shipped import find_recipe, run_name
    from edgemate.errors import UsageError

    # What can be told without torch comes first: to import it takes seconds.
    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError as error:
        raise UsageError(f"--seeds {seeds}: should be whole numbers comma-separated, such as 0,1,2") from error
    path = find_recipe(recipe)
    folder = output or Path("comparisons") / run_name(path)
    variants = parse_variants(methods)
    plan_comparison(path, variants, numbers, folder, overrides=overrides or [], jobs=jobs)

    from edgemate.comparison import compare as compare_methods

    console = make_console()

    def tell(line: str) -> None:
        console.out(line)

    with showing_progress(quiet, steps=False) as progress:
        compare_methods(
            path,
            variants,
            numbers,
            folder,
            overrides=overrides or [],
            jobs=jobs,
            report=(lambda line: None) if quiet else tell,
            progress=progress,
        )
    found = (folder / "comparison.md").read_text(encoding="utf-8")
    if is_screen():
        from rich.markdown import Markdown

        console.print(Markdown(found))
    else:  # Markdown fills the whole width of a line, and none is too wide for a pipe
        console.out(found)
    tell(f"written: {', '.join(str(folder / f'comparison.{kind}') for kind in ('json', 'md', 'png'))}")
