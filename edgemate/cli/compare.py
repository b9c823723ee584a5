"""`edgemate compare`: one recipe, several methods, several seeds → one fair table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgemate.cli.console import is_screen, make_console
from edgemate.cli.progress import Quiet, showing_progress
from edgemate.cli.screen import printable
from edgemate.cli.trust import AllowPlugins


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
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Trainings at the same time, which share the cores; if absent, one per GPU, or as many as the cluster "
            "has resources for, else 1.",
            show_default=False,
        ),
    ] = None,
    tune: Annotated[
        int,
        typer.Option(
            min=0,
            help="Settings that every method is tried with first, its learning rate among them; the best one on the "
            "calibration split is trained with all seeds. 0: none.",
        ),
    ] = 0,
    rates: Annotated[
        str | None,
        typer.Option(
            help="Learning rates, comma-separated, that every method is trained at first, in place of --tune; the best "
            "one of each method on the calibration split is trained with all seeds."
        ),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="What places the trainings: local (this machine) or ray (a Ray cluster).")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Of a running Ray cluster; if absent, $RAY_ADDRESS, else one is started here and ended afterwards.",
        ),
    ] = None,
    cpus_per_run: Annotated[
        int | None, typer.Option(min=1, help="CPUs that a training reserves on the cluster.")
    ] = None,
    gpus_per_run: Annotated[float | None, typer.Option(min=0, help="GPUs that a training reserves on it.")] = None,
    allow_plugins: AllowPlugins = False,
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
        raise UsageError(f"seeds {seeds!r}: should be comma-separated integers, such as 0,1,2") from error
    try:
        grid = [float(rate) for rate in rates.split(",")] if rates is not None else []
    except ValueError as error:
        raise UsageError(f"rates {rates!r}: should be comma-separated numbers, such as 0.002,0.004,0.008") from error
    given = {"address": address, "cpus_per_run": cpus_per_run, "gpus_per_run": gpus_per_run}
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
            engine=engine,
            engine_options={key: value for key, value in given.items() if value is not None},
            tune=tune,
            rates=grid,
            allow_plugins=allow_plugins,
            notify=None if quiet else notify,
            progress=progress,
        )
    folder = compared.path
    tables = [(folder / name).read_text(encoding="utf-8") for name in ("comparison.md", "gains.md")]
    found = "\n".join(tables)
    if is_screen():
        from rich.markdown import Markdown

        console.print(Markdown("\n".join(map(printable, found.split("\n")))))
    else:  # Markdown fills the whole width of a line, and none is too wide for a pipe
        for line in found.removesuffix("\n").split("\n"):
            console.out(line)
    written = [*(f"comparison.{kind}" for kind in ("html", "json", "md", "png")), "gains.json", "gains.md"]
    notify(f"written: {', '.join(str(folder / name) for name in written)}")
