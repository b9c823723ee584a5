"""`edgemate train`: recipe → run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgemate.cli.console import make_console, print_table
from edgemate.cli.progress import Quiet, showing_progress
from edgemate.wording import counted

if TYPE_CHECKING:
    from rich.console import Console

    from edgemate.config import Recipe
    from edgemate.runs import Run


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's file, or the name of one that comes with edgemate.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Lay a value over the recipe; repeatable.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="The run folder; runs/NAME if absent.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where it stopped, with more epochs if set.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Delete a run that is there already.")] = False,
    quiet: Quiet = False,
) -> None:
    """Train the multi-exit network that a recipe describes and write a run folder."""
    from edgemate.config import load_recipe
    from edgemate.config.shipped import find_recipe, run_name
    from edgemate.data import check_data
    from edgemate.errors import UsageError
    from edgemate.training import check_early
    from edgemate.training.run_place import check_run_place

    # What can be told without torch comes first: to import it takes seconds.
    if resume and force:
        raise UsageError("--resume and --force exclude each other: go on with the run, or start it anew")
    path = find_recipe(recipe)
    notes: list[str] = []
    checked = load_recipe(path, overrides or [], notify=notes.append)
    folder = output or Path("runs") / run_name(path)
    check_early(checked, str(path))
    if check_run_place(checked, folder, resume=resume, replace=force):
        check_data(checked.data)
    if not quiet:
        _announce(checked, path, folder)

    from edgemate.training import train as train_run

    console = make_console()
    if not quiet:
        for note in notes:
            console.out(note)
    try:
        with showing_progress(quiet, steps=False) as progress:
            shown = make_console(quiet=quiet)
            run = train_run(checked, folder, resume=resume, replace=force, console=shown, progress=progress)
    except KeyboardInterrupt:
        instead = " instead of --force" if force else ""
        typer.echo(f"the same command with --resume{instead} goes on from the last checkpoint", err=True)
        raise
    _print_accuracies(run, console)
    console.out(f"run: {run.path}   next: edgemate profile {run.path}")


def _announce(recipe: Recipe, path: Path, folder: Path) -> None:
    """What is about to happen, before the seconds that importing torch takes."""
    backbone, methods = recipe.model.backbone, " + ".join(recipe.distillation.names)
    epochs = counted(recipe.optimization.epochs, "epoch")
    typer.echo(
        f"training {folder} by {path}: {backbone}, {methods}, {epochs}, batches of {recipe.optimization.batch_size}; "
        "loading PyTorch"
    )


def _print_accuracies(run: Run, console: Console) -> None:
    from rich.table import Table

    metrics = run.read_metrics()
    table = Table(title=f"{run.name}: top-1 accuracy, %", title_justify="left")
    table.add_column("split")
    table.add_column("images", justify="right")
    exits = len(metrics["accuracy"]["test"]["exits"])
    for k in range(1, exits + 1):
        table.add_column(f"exit {k}", justify="right")
    table.add_column("mean", justify="right")
    table.add_column("ensemble", justify="right")
    for split, figures in metrics["accuracy"].items():
        fractions = [*figures["exits"], sum(figures["exits"]) / exits, figures["ensemble"]]
        table.add_row(split, f"{figures['images']:,}", *(f"{100 * share:.2f}" for share in fractions))
    print_table(table, console)
    console.out(
        f"{counted(metrics['epochs'], 'epoch')} in {metrics['train_seconds']:.0f} s, "
        f"weights of epoch {metrics['kept_epoch']}"
    )
