"""`edgemate train`: recipe → run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgemate.cli.console import make_console, print_table
from edgemate.cli.progress import Quiet, showing_progress
from edgemate.cli.rank import Rank
from edgemate.cli.screen import say
from edgemate.cli.trust import AllowPlugins
from edgemate.stopping import terminated
from edgemate.wording import counted

if TYPE_CHECKING:
    from rich.console import Console

    from edgemate.api import Trained


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's file, or the name of a shipped recipe.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a value of the recipe; repeatable.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="The run folder; runs/NAME if absent.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue, with more epochs if set.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Delete a run that exists.")] = False,
    devices: Annotated[
        int | None, typer.Option(help="Processes on this machine that train together, each with its own GPU.")
    ] = None,
    nodes: Annotated[int | None, typer.Option(help="Machines that train together; see docs/distributed.md.")] = None,
    strategy: Annotated[str, typer.Option(help="ddp, which several processes always do.")] = "auto",
    allow_plugins: AllowPlugins = False,
    quiet: Quiet = False,
) -> None:
    """Train the multi-exit network that a recipe describes and write a run folder."""
    from edgemate import api

    console = make_console()
    rank = Rank.current()
    try:
        with rank.errors_reported(), showing_progress(quiet or not rank.shows, steps=False) as progress:
            trained = api.train(
                recipe,
                output,
                overrides=overrides or [],
                resume=resume,
                overwrite=force,
                console=None if quiet else make_console(),
                progress=progress,
                devices=devices,
                nodes=nodes,
                strategy=strategy,
                allow_plugins=allow_plugins,
            )
    except KeyboardInterrupt:
        if not rank.prints or terminated():  # of which `main` says so
            raise
        instead = " instead of --force" if force else ""
        say(f"the same command with --resume{instead} continues from the last checkpoint", err=True)
        raise
    if not rank.prints or not trained.metrics:
        return
    _print_accuracies(trained, console)
    console.out(f"run: {trained.run.path}   next: edgemate profile {trained.run.path}")


def _print_accuracies(trained: Trained, console: Console) -> None:
    from rich.table import Table

    metrics = trained.metrics
    table = Table(title=f"{trained.run.name}: top-1 accuracy, %", title_justify="left")
    table.add_column("split")
    table.add_column("images", justify="right")
    exits = len(metrics["accuracy"]["test"]["exits"])
    for k in range(1, exits + 1):
        table.add_column(f"exit {k}", justify="right")
    table.add_column("mean", justify="right")
    table.add_column("ensemble", justify="right")
    for split, figures in metrics["accuracy"].items():
        fractions = [*figures["exits"], sum(figures["exits"]) / exits, figures["ensemble"]]
        table.add_row(split, f"{figures['images']:,}", *(f"{100 * fraction:.2f}" for fraction in fractions))
    print_table(table, console)
    console.out(
        f"{counted(metrics['epochs'], 'epoch')} in {metrics['train_seconds']:.0f} s, "
        f"weights of epoch {metrics['kept_epoch']}"
    )
