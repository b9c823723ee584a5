"""`train`: recipe → run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgemate.progress import SILENT, Progress

if TYPE_CHECKING:
    from rich.console import Console

    from edgemate.api.opening import PathLike, RecipeLike
    from edgemate.config import Recipe
    from edgemate.distributed.world import World
    from edgemate.runs import Run


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        run: the run folder.
        metrics: final figures: `accuracy` per split and exit as fractions, `epochs`, `kept_epoch`, `train_seconds`.
    """

    run: Run
    metrics: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The path of the run and its final figures."""
        return {"run": str(self.run.path), **self.metrics}


def train(
    recipe: RecipeLike,
    output: PathLike | None = None,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
    progress: Progress = SILENT,
    devices: int | None = None,
    nodes: int | None = None,
    strategy: str = "auto",
    allow_plugins: bool = False,
) -> Trained:
    """Train the multi-exit network that a recipe describes and write a run folder.

    Args:
        recipe: a recipe's file, the name of a shipped recipe, or a Recipe.
        output: the run folder; `runs/NAME` if None, which needs a recipe with a name.
        overrides: `section.key=value` strings that override values of the recipe.
        resume: continue from the last checkpoint, with more epochs if the recipe has more.
        overwrite: delete a run that exists in `output`.
        console: prints the header and a line per epoch; nothing is printed if None. Processes that are started here
            print the lines themselves, on standard output.
        progress: receives the steps and how far each is; of processes that are started here nothing, as they show
            theirs themselves, on standard error.
        devices: processes that train together on this machine, each with its own GPU where there are any. They are
            started here, unless torchrun or srun has started this process as one of several: then these are used.
        nodes: machines that train together, on each of which the same is called.
        strategy: `ddp`, which is what several processes do, or `auto`.
        allow_plugins: let the code be imported that the recipes of runs name which this recipe names, such as a
            teacher's. What the recipe itself names is imported in any case.

    Returns:
        The run and its final figures, which only rank 0 has where torchrun or srun has started the processes.

    Raises:
        RecipeError: the recipe does not hold together or does not fit this machine.
        DataError: the dataset is missing or damaged.
        RunError: the folder is taken, or holds a run of another recipe.
        TrainingError: the loss is not finite, a step does not fit into the GPU's memory, or a process has died.
        UsageError: an override cannot be used, `resume` and `overwrite` are both given, or `devices` and `nodes`
            disagree with the processes that are there.

    Example:
        >>> trained = edgemate.train("digits/resnet8_mate", "runs/digits", overrides=["optimization.epochs=2"])
        >>> trained.metrics["accuracy"]["test"]["exits"]  # doctest: +SKIP
        [0.958, 0.973, 0.978]
    """
    from edgemate import plug_ins

    if allow_plugins and not plug_ins.are_allowed_in_runs():
        with plug_ins.allowed_in_runs():
            return train(
                recipe,
                output,
                overrides=overrides,
                resume=resume,
                overwrite=overwrite,
                console=console,
                progress=progress,
                devices=devices,
                nodes=nodes,
                strategy=strategy,
            )
    from edgemate.data import check_data
    from edgemate.distributed.world import current_world, wanted_world
    from edgemate.errors import UsageError
    from edgemate.training import check_early
    from edgemate.training.rank_checks import check_ranks
    from edgemate.training.run_place import check_run_place

    # What is wrong and needs no PyTorch to be found comes first: importing it takes seconds.
    if resume and overwrite:
        raise UsageError("`resume` and `overwrite` exclude each other: continue the run, or delete it and start anew")
    current = current_world()
    world = wanted_world(devices, nodes, strategy, current)
    checked, source, folder, notes = _read(recipe, output, overrides)
    check_early(checked, source)
    check_ranks(
        checked.data,
        checked.training,
        checked.distillation.names,
        source,
        batch_size=checked.optimization.batch_size,
        accumulate=checked.optimization.accumulate,
        world=world,
    )
    if check_run_place(checked, folder, resume=resume, replace=overwrite):
        check_data(checked.data)
    if console is not None and world.first and not world.has_parent:
        _announce(checked, source, folder, notes, console)
    if world.ranks > 1:
        # DistributedDataParallel's C++ warns of what it was asked for: to look for parameters without a gradient.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if world != current:
        _train_in_ranks(checked, source, folder, world, console, resume=resume, overwrite=overwrite)
        return _finished(folder, world)

    from rich.console import Console

    from edgemate.training import train as train_run

    quiet = console or Console(quiet=True)
    run = train_run(checked, folder, resume=resume, replace=overwrite, console=quiet, progress=progress, world=world)
    return Trained(run, run.read_metrics() if world.first else {})


def _train_in_ranks(
    recipe: Recipe, source: str, folder: Path, world: World, console: Console | None, *, resume: bool, overwrite: bool
) -> None:
    """Let several processes on this machine train, each by the command that trains in one."""
    import json
    import sys
    from tempfile import TemporaryDirectory

    import yaml

    from edgemate import plug_ins
    from edgemate.distributed.launching import rank_command, run_ranks
    from edgemate.distributed.world import COMMAND

    with TemporaryDirectory(prefix="edgemate_recipe_") as place:
        path = Path(place) / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), allow_unicode=True), encoding="utf-8")
        options = [
            *(["--resume"] if resume else []),
            *(["--force"] if overwrite else []),
            *(["--quiet"] if console is None else []),
        ]
        # The recipe is not where the user wrote it, beside modules of dotted paths.
        folders = os.pathsep.join([*map(str, plug_ins.searched()), *filter(None, sys.path)])
        command = rank_command(["train", str(path), "--output", str(folder), *options])
        run_ranks(command, world, environment={"PYTHONPATH": folders, COMMAND: json.dumps(sys.argv)})


def _finished(folder: Path, world: World) -> Trained:
    from edgemate.runs import Run

    run = Run(folder)
    return Trained(run, run.read_metrics() if world.node == 0 else {})


def _read(
    given: RecipeLike, output: PathLike | None, overrides: Sequence[str]
) -> tuple[Recipe, str, Path, Sequence[str]]:
    """The recipe with the overrides, what messages call it, its run folder, and notes on changed values."""
    from edgemate import plug_ins
    from edgemate.config import Recipe, load_recipe, parse_recipe
    from edgemate.config.merging import merge, parse_overrides
    from edgemate.config.parts import dotted_names
    from edgemate.config.shipped import find_recipe, run_name
    from edgemate.errors import UsageError

    notes: list[str] = []
    if isinstance(given, Recipe):
        if output is None:
            raise UsageError("output: a Recipe object has no name; name the run folder")
        plug_ins.add_named_by_user(name for _, name in dotted_names(given.model_dump()))
        tree = merge(given.model_dump(mode="json"), parse_overrides(overrides)) if overrides else None
        return given if tree is None else parse_recipe(tree, "recipe"), "recipe", Path(output), notes
    path = find_recipe(os.fspath(given))
    recipe = load_recipe(path, overrides, notify=notes.append)
    return recipe, str(path), Path(output) if output is not None else Path("runs") / run_name(path), notes


def _announce(recipe: Recipe, source: str, folder: Path, notes: Sequence[str], console: Console) -> None:
    """What is about to happen, before the seconds that importing PyTorch takes."""
    from edgemate.wording import counted

    backbone, methods = recipe.model.backbone, " + ".join(recipe.distillation.names)
    epochs = counted(recipe.optimization.epochs, "epoch")
    console.out(
        f"training {folder} by {source}: {backbone}, {methods}, {epochs}, batches of "
        f"{recipe.optimization.batch_size}; loading PyTorch"
    )
    for note in notes:
        console.out(note)
