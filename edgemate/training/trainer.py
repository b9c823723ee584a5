"""`train`: a recipe becomes a run folder."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console

from edgemate.config import Recipe
from edgemate.data import PreparedData, build_data
from edgemate.data.loaders import ImageLoader
from edgemate.data.on_device import OnDeviceLoader
from edgemate.data.workers import translate_worker_errors
from edgemate.distillation.building import build_method, setting_of
from edgemate.distillation.method import Method, Setting
from edgemate.distillation.teachers.loading import load_teacher
from edgemate.distributed.batch_norm import synchronize
from edgemate.distributed.connection import Connection, connected, device_of
from edgemate.distributed.world import ALONE, World
from edgemate.errors import RecipeError, RunError, TrainingError, UsageError
from edgemate.machine import processor
from edgemate.models import MultiExitModel, build_model, count_costs
from edgemate.progress import SILENT, Progress
from edgemate.runs import Run
from edgemate.training.averaging import take_average, weight_averaging
from edgemate.training.beginning import Place
from edgemate.training.cached_loaders import CachedLoader, CachedTrainLoader
from edgemate.training.caching import Caching
from edgemate.training.callbacks import BestEpoch, KeepEpochs, Record, SeedEveryEpoch
from edgemate.training.checkpoints import Checkpoint, CheckpointFiles, has_trained, translate_restoring_errors
from edgemate.training.checks import check_recipe, method_problems
from edgemate.training.class_weights import class_weights
from edgemate.training.early_stop import EarlyStop
from edgemate.training.event_files import translate_event_errors
from edgemate.training.feeding import choose_place, make_feed
from edgemate.training.final_logits import write_final_logits
from edgemate.training.freezing import describe_features, describe_frozen, freeze
from edgemate.training.freezing_checks import caches_features
from edgemate.training.header import Setup, division_of_a_batch, training_header
from edgemate.training.host_memory import freed_memory_kept
from edgemate.training.input_defaults import with_input_defaults
from edgemate.training.live import BesideEpochs, Live
from edgemate.training.mixup import mixup_of
from edgemate.training.numerics import Numerics, choose_numerics, prepare_teachers, resumed_numerics
from edgemate.training.quiet import quiet_lightning
from edgemate.training.rank_callbacks import AgreeOnEpochs
from edgemate.training.rank_checks import check_ranks
from edgemate.training.rank_strategy import check_loaders, environment_of, leave_to_method, strategy_of
from edgemate.training.results import metadata_of, write_results
from edgemate.training.speed import Speed
from edgemate.training.task import MultiExitTask

Loader = ImageLoader | OnDeviceLoader | CachedTrainLoader | CachedLoader
PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
"""Our names of precisions, and Lightning's."""


def train(
    recipe: Recipe,
    path: Path,
    *,
    resume: bool = False,
    replace: bool = False,
    console: Console | None = None,
    progress: Progress = SILENT,
    world: World = ALONE,
) -> Run:
    """Train the network that a recipe describes and write everything that comes after into a run folder.

    Args:
        recipe: a checked recipe.
        path: the run folder; it must be absent or empty unless `resume` or `replace`.
        resume: continue from the last checkpoint. The weights at the end are those of an uninterrupted run on the
            same machine (on GPUs as far as their kernels are deterministic). The recipe may ask for another number of
            epochs than the run was begun with, a finished one too: its schedule then spans all of them.
        replace: delete the run that is there, once the recipe, its data and its teacher are known to be good.
        console: where the header and the epochs are shown; standard output if absent.
        progress: notified of the current step and its progress.
        world: the processes that train together, and which of them this is. All call this function, with the same
            arguments but that one. Rank 0 writes and prints.

    Returns:
        The run, finished in rank 0. The others return as soon as the last epoch is trained.

    Raises:
        RecipeError: the recipe does not fit itself or this machine.
        DataError: the data is missing or damaged.
        RunError: the folder is taken, holds a run of another recipe, one with more epochs already, or one that another
            process trains.
        TrainingError: the loss is not finite, a step does not fit into the GPU's memory, or another process has ended.
    """
    console = console or Console()
    notify = console.out if world.local_rank == 0 else lambda line: None
    console = console if world.first else Console(quiet=True)
    progress = progress if world.first else SILENT
    check_recipe(recipe, str(path), built_later=True)
    check_ranks(
        recipe.data,
        recipe.training,
        recipe.distillation.names,
        str(path),
        batch_size=recipe.optimization.batch_size,
        accumulate=recipe.optimization.accumulate,
        world=world,
    )
    device = device_of(world, recipe.training.accelerator)
    with (
        closing(Place(path, world)) as place,
        connected(world, device, notify) as connection,
        freed_memory_kept(device),
    ):
        return _train(recipe, place, resume, replace, console, progress, connection, device)


def _train(
    recipe: Recipe,
    place: Place,
    resume: bool,
    replace: bool,
    console: Console,
    progress: Progress,
    connection: Connection,
    device: torch.device,
) -> Run:
    world, settings, path = connection.world, recipe.training, place.path
    recipe = _with_input_defaults(recipe, str(path))
    opened, extension = connection.shared(lambda: place.resume(recipe) if resume else (None, None))
    if opened is not None and opened.finished and extension is None:
        if world.first:
            place.tidy()
        console.out(f"{opened.path} is finished already")
        return opened
    if opened is not None and world.first:
        opened.progress_path.unlink(missing_ok=True)  # of the training that was cut off
    with progress.unattended():
        data, model, method = connection.each(lambda: _prepare(recipe, path, console, progress))
    for note in model.notes:
        console.out(note)
    run = opened or connection.shared(lambda: place.begin(lambda new: new.write_recipe(recipe), replace=replace))
    numerics = connection.shared(lambda: _numerics(run, recipe, model, method, data))
    if numerics.warning is not None:
        console.out(f"warning: {numerics.warning}")
    prepare_teachers(method, numerics)
    if world.first:
        run.write_metadata(metadata_of(recipe.data.name, data, model.cuts))
    beside = BesideEpochs(progress, run) if world.first else progress
    caching = Caching(recipe, data, model, run.path / "cache", world.ranks) if caches_features(settings) else None
    sharding = world.sharding(recipe.optimization.accumulate)
    sharded = dataclasses.replace(data, sharding=sharding)
    feed = None
    loader: Loader = sharded.train_loader()
    calibration: Loader = sharded.calibration_loader()
    if caching is None:
        cache, epochs = recipe.data.cache, recipe.optimization.epochs
        images = connection.shared(lambda: choose_place(cache, epochs, sharded, method, device, world.ranks))
        with progress.unattended():
            feed = connection.each(lambda: make_feed(sharded, method, device, images, progress))
        loader, calibration = feed.train, feed.calibration
    check_loaders(loader, len(data.splits.calibration), sharding)
    mixup = mixup_of(recipe.data, settings.seed, method)
    task = MultiExitTask(
        model,
        method,
        recipe.optimization,
        len(loader) // sharding.accumulate,
        channels_last=numerics.channels_last,
        compiled=settings.compile,
        cuda_graphs=settings.cuda_graphs,
        cached=caching is not None,
        mixup=mixup,
        sharding=sharding,
        images_in=loader.sampler.images_in,  # type: ignore[union-attr]
    )
    method.bind(model)
    if mixup is not None:
        console.out(mixup.describe())
    if extension is not None:
        console.out(f"{run.path}: {extension.describe(task.steps_per_epoch)}")
        if world.first:
            run.delete_results()
            run.write_recipe(recipe)

    record = Record(run.history_path, console)
    best = BestEpoch() if settings.weights == "best" else None
    stop = EarlyStop(settings.patience, console) if settings.patience else None
    checkpoint = run.checkpoints_path / "last.ckpt"
    with quiet_lightning():
        kept: list[Callback] = [callback for callback in (stop, best) if callback]
        route = [KeepEpochs(run, settings.keep_every)] if settings.keep_every else []
        # Rank 0 alone writes; the others have no state beside what all agree on.
        writers = [Speed(run.speed_path), Live(progress, run), record, *kept, *route]
        agree = [AgreeOnEpochs()] if world.ranks > 1 else []
        callbacks = [*agree, *(writers if world.first else [stop] if stop else [])]
        trainer = _trainer(recipe, numerics, run.path, callbacks, checkpoint, world, device)
        with progress.unattended():
            progress.step("counting what every exit costs")
            setup = _setup(recipe, numerics, trainer.strategy.root_device, task.steps_per_epoch, world)
            setup = dataclasses.replace(setup, images="" if feed is None else feed.place.note)
            setup = dataclasses.replace(setup, frozen=describe_frozen(model), features=describe_features(caching))
            shape = (data.spec.channels, data.spec.height, data.spec.width)
            macs = [cost.macs for cost in count_costs(model, shape).exits]
            header = training_header(data, model, macs, setup)
        for line in header:
            console.out(line)
        if caching is not None:
            filling = caching
            connection.only_first(lambda: filling.compute(trainer.strategy.root_device, numerics.channels_last, beside))
            loader, calibration = caching.loaders(sharding)
        if settings.sync_batchnorm and world.ranks > 1:
            synchronize(model, device)
            synchronize(method, device)
        leave_to_method(task, method)
        progress.step("first step; compiling takes minutes" if settings.compile else "first step")
        try:
            with (
                translate_worker_errors(settings.workers),  # which torch raises wherever the program is then
                translate_restoring_errors(trainer, checkpoint),
                translate_event_errors(run.path / "tensorboard"),
            ):
                trainer.fit(
                    task,
                    loader,
                    calibration,
                    ckpt_path=checkpoint if checkpoint.exists() else None,
                    weights_only=True,
                )
        except SystemExit as error:  # what Lightning raises on Ctrl-C
            raise KeyboardInterrupt from error
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"optimization.batch_size={recipe.optimization.batch_size}: a step does not fit into the GPU's memory; "
                "set a smaller one, or training.precision=bf16"
            ) from error
    if not has_trained(trainer):
        take_average(trainer, task)
    task.update_mixing()
    if best and world.first:
        model.load_state_dict(best.weights)
    features = None if caching is None else caching.evaluation()
    evaluated = write_final_logits(
        run, model, data, connection, device, channels_last=task.channels_last, features=features, progress=beside
    )
    if not world.first:
        return run
    extra: dict[str, Any] = {} if caching is None else {"feature_cache": caching.to_json()}
    extra |= {"early_stop": stop.to_json()} if stop else {}
    extra |= {"distributed": world.to_json()} if world.ranks > 1 else {}
    write_results(run, task, data, evaluated, record, best.epoch if best else len(record.rows), extra)
    if caching is not None:
        caching.close()
    run.progress_path.unlink(missing_ok=True)
    return run


def _prepare(
    recipe: Recipe, path: Path, console: Console, progress: Progress
) -> tuple[PreparedData, MultiExitModel, Method]:
    """Dataset, network and method, as every process makes them for itself."""
    progress.step("reading the dataset")
    data = prepare_data(recipe, progress)
    for note in data.notes:
        console.out(note)
    weights = class_weights(recipe.optimization.class_weights, data, str(path))
    teacher = None
    if recipe.distillation.teacher:
        progress.step("loading the teacher")
        teacher = load_teacher(recipe.distillation.teacher, data, str(path))
    progress.step("building the network")
    torch.manual_seed(recipe.training.seed)
    model = _build(recipe, data, str(path))
    _freeze(model, recipe, str(path))
    return data, model, _method(recipe, setting_of(recipe, model, len(data.classes), teacher, weights), str(path))


def _with_input_defaults(recipe: Recipe, source: str) -> Recipe:
    try:
        data = with_input_defaults(recipe.data, recipe.model.backbone, recipe.model.weights, recipe.model.options)
    except UsageError as error:
        raise RecipeError(source, [f"model: {error}".replace("model: model.", "model.")]) from error
    return recipe.model_copy(update={"data": data})


def _freeze(model: MultiExitModel, recipe: Recipe, source: str) -> None:
    try:
        freeze(model, recipe.training)
    except UsageError as error:
        raise RecipeError(source, [f"training.freeze_until: {error}"]) from error


def _build(recipe: Recipe, data: PreparedData, source: str) -> MultiExitModel:
    """The network with the weights that it begins with; what does not fit is a problem of the recipe."""
    spec = data.spec
    try:
        return build_model(recipe.model, recipe.exits, spec.channels, len(data.classes), (spec.height, spec.width))
    except UsageError as error:
        raise RecipeError(source, [f"model: {error}".replace("model: model.", "model.")]) from error


def _method(recipe: Recipe, setting: Setting, source: str) -> Method:
    """The method, checked as `check_recipe` checks it; what does not fit is a problem of the recipe."""
    try:
        method = build_method(recipe.distillation, setting)
    except UsageError as error:
        raise RecipeError(source, [f"distillation: {error}"]) from error
    if problems := method_problems(recipe, method):
        raise RecipeError(source, problems)
    return method


def prepare_data(recipe: Recipe, progress: Progress = SILENT) -> PreparedData:
    """The dataset that a recipe names, split and ready to load; `progress` is notified of the files checked.

    Raises:
        DataError: it is missing or damaged; see `build_data`.
        UsageError: for a bad option.
    """
    return build_data(
        recipe.data,
        batch_size=recipe.optimization.batch_size,
        workers=recipe.training.workers,
        seed=recipe.training.seed,
        progress=progress,
    )


def _numerics(run: Run, recipe: Recipe, model: MultiExitModel, method: Method, data: PreparedData) -> Numerics:
    """The run's own choice where it has made one, else one for this machine, which is then the run's."""
    shape = (data.spec.channels, data.spec.height, data.spec.width)
    if run.numerics_path.is_file():
        try:
            return resumed_numerics(run.read_numerics(), recipe.training, model, method, shape)
        except RunError as error:
            raise RunError(f"{run.numerics_path}: {error}") from error
    numerics = choose_numerics(recipe.training, model, method, shape)
    run.write_numerics(numerics.to_json())
    return numerics


def _setup(recipe: Recipe, numerics: Numerics, device: torch.device, steps: int, world: World) -> Setup:
    settings, optimization = recipe.training, recipe.optimization
    return Setup(
        backbone=recipe.model.backbone,
        method=" + ".join(recipe.distillation.names),
        device=_name(device),
        precision=f"{numerics.precision} ({numerics.precision_reason})",
        memory_format=f"{numerics.layout} ({numerics.layout_reason})",
        threads=torch.get_num_threads(),
        workers=settings.workers,
        batch_size=optimization.batch_size,
        steps=steps,
        epochs=optimization.epochs,
        division=division_of_a_batch(optimization.batch_size, world.ranks, optimization.accumulate, optimization.lr),
    )


def _name(device: torch.device) -> str:
    if device.type == "cpu":
        return processor()
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _trainer(
    recipe: Recipe,
    numerics: Numerics,
    folder: Path,
    callbacks: list[Callback],
    checkpoint: Path,
    world: World,
    device: torch.device,
) -> Trainer:
    settings = recipe.training
    callbacks = [SeedEveryEpoch(settings.seed, world.rank), *callbacks]
    if recipe.optimization.ema is not None:
        callbacks.append(
            weight_averaging(
                recipe.optimization.ema, frozen=settings.freeze != "none" or settings.freeze_until is not None
            )
        )
    callbacks.append(Checkpoint(checkpoint, settings.checkpoint_every))
    return Trainer(
        accelerator=settings.accelerator if world.ranks == 1 else "gpu" if device.type == "cuda" else "cpu",
        devices=world.local_ranks,
        num_nodes=world.nodes,
        strategy=strategy_of(world),
        use_distributed_sampler=False,  # ours divide the batches
        accumulate_grad_batches=recipe.optimization.accumulate,
        precision=PRECISIONS[numerics.precision],  # type: ignore[arg-type]
        max_epochs=recipe.optimization.epochs,
        gradient_clip_val=recipe.optimization.gradient_clip,
        callbacks=callbacks,
        plugins=[CheckpointFiles(), environment_of(world)],
        logger=TensorBoardLogger(folder, name="tensorboard", version="", default_hp_metric=False),
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        benchmark=True,
    )
