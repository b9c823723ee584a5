"""Measure images per second of training, loader included: a recipe in edgemate against a plain PyTorch loop.

    python benchmarks/train_throughput.py                       on a CPU: fp32 and bf16
    python benchmarks/train_throughput.py --device cuda --grid  on a GPU: all settings

The plain loop is a typical handwritten one: torchvision's transforms image by image in a DataLoader with the recipe's
number of workers, float32, the default memory layout, the sum of the exits' cross-entropies, the recipe's optimizer.
Every other row is the recipe in edgemate, Lightning included, with some of its `training` settings changed. All take
turns in one process, so that other load on the machine affects all of them alike.

On a CPU the first turn warms up, compiles, and is not counted. On a GPU the first batches of every turn (`--skip`)
are not counted: in them networks move back to the device, workers start, and CUDA graphs are captured again. The
clock starts and stops after a synchronization. On a CPU images are loaded in the main process, so that no worker runs
during another row's turn. The data is the recipe's, or with `--random` noise of the same shape.

The results are written after every turn. A failed row is listed with its reason, and the others continue.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from edgemate import files
from edgemate.config import Recipe, load_recipe
from edgemate.data import PreparedData
from edgemate.distillation import build_method
from edgemate.distillation.building import setting_of
from edgemate.distributed.connection import device_of
from edgemate.distributed.world import ALONE
from edgemate.errors import EdgemateError, UsageError
from edgemate.machine import usable_cores
from edgemate.models import MultiExitModel, build_model
from edgemate.registry import OPTIMIZERS
from edgemate.runs import environment_metadata
from edgemate.training.checks import check_recipe
from edgemate.training.feeding import choose_place, make_feed
from edgemate.training.numerics import choose_numerics
from edgemate.training.task import MultiExitTask
from edgemate.training.trainer import PRECISIONS, prepare_data

RECIPE = Path(__file__).parents[1] / "recipes" / "cifar100" / "resnet18_mate.yaml"
PLAIN = "plain fp32 loop"
TARGET = 2.0  # of bf16 over the plain loop, on a CPU with native bf16

BF16 = ("training.precision=bf16",)
ON_DEVICE = (*BF16, "data.cache=device")
COMPILED = (*ON_DEVICE, "training.compile=true")
GRAPHS = (*COMPILED, "training.cuda_graphs=true")
LARGE = "optimization.batch_size=512"
ON_CPU = {
    "fp32": ("training.precision=fp32",),
    "bf16": BF16,
    "bf16, data on device": ON_DEVICE,
}
GRID = {
    "fp32, loader": ("training.precision=fp32",),
    "bf16, loader": BF16,
    "bf16, loader, compiled": (*BF16, "training.compile=true"),
    "fp32, data on device": ("training.precision=fp32", "data.cache=device"),
    "bf16, data on device": ON_DEVICE,
    "bf16, data on device, not channels_last": (*ON_DEVICE, "training.channels_last=false"),
    "bf16, data on device, compiled": COMPILED,
    "bf16, data on device, compiled, CUDA graphs": GRAPHS,
    "batch 512, fp32, data on device": ("training.precision=fp32", "data.cache=device", LARGE),
    "batch 512, bf16, loader": (*BF16, LARGE),
    "batch 512, bf16, data on device": (*ON_DEVICE, LARGE),
    "batch 512, bf16, data on device, compiled": (*COMPILED, LARGE),
    "batch 512, bf16, data on device, compiled, CUDA graphs": (*GRAPHS, LARGE),
}


@dataclass(frozen=True)
class Turn:
    """One turn: images, seconds, and how many of the seconds the loop waited for a batch."""

    images: int
    seconds: float
    waited: float | None = None


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        overrides = options.set + _random(Path(folder), options.device) if options.random else options.set
        recipe = load_recipe(options.recipe, overrides)
        metadata = {
            "benchmark": "train_throughput",
            "recipe": f"{options.recipe.parent.name}/{options.recipe.name}",
            "overrides": options.set,
            "network": recipe.model.model_dump(),
            "method": recipe.distillation.method,
            "images": "noise of CIFAR's shape" if options.random else recipe.data.name,
            "machine": environment_metadata(),
            "device": options.device,
            "workers": _workers(options.device),
            "turns": options.rounds,
            "batches_per_turn": options.batches,
            "batches_not_timed": options.skip,
            "unit": "images per second",
            "target_ratio": None if options.grid else TARGET,
        }
        path = options.output or _output(options)

        def write(found: dict[str, dict[str, Any]], turns: int) -> None:
            files.write_json(path, {**metadata, "turns_done": turns, "results": found})

        found = _measure(options, overrides, write)
    _print(found, options)


def _measure(
    options: argparse.Namespace, overrides: list[str], write: Callable[[dict[str, dict[str, Any]], int], None]
) -> dict[str, dict[str, Any]]:
    settings = (GRID if options.grid else ON_CPU) if options.variants is None else _chosen(options.variants)
    turns: dict[str, Callable[[], Turn]] = {}
    failed: dict[str, dict[str, Any]] = {}
    samples: dict[str, list[Turn]] = {}

    def attempt(name: str, act: Callable[[], Turn | None]) -> Turn | None:
        try:
            return act()
        except Exception as error:  # continue with the other rows
            reason = " ".join(str(error).split())[:300]
            failed[name] = {"failed": f"{type(error).__name__}: {reason}"}
            turns.pop(name, None)
            print(f"{name}: {failed[name]['failed']}", flush=True)
            return None

    def begin(name: str, changed: Sequence[str]) -> None:
        recipe = load_recipe(options.recipe, [*on_device, *changed, *overrides])
        check_recipe(recipe, name)
        turns[name] = _Trained(recipe, options.batches, options.skip)

    def found() -> dict[str, dict[str, Any]]:
        rows = {name: _summary(taken, samples.get(PLAIN, [])) for name, taken in samples.items()}
        return rows | {name: rows.get(name, {}) | reason for name, reason in failed.items()}

    accelerator = "gpu" if options.device == "cuda" else "cpu"
    on_device = [f"training.accelerator={accelerator}", f"training.workers={_workers(options.device)}"]
    base = load_recipe(options.recipe, [*on_device, *overrides])
    turns[PLAIN] = _PlainLoop(base, prepare_data(base), options.device, options.batches, options.skip)
    for name, changed in settings.items():
        if "training.cuda_graphs=true" in changed and options.device == "cpu":
            failed[name] = {"skipped": "CUDA graphs need a GPU"}
            continue
        attempt(name, partial(begin, name, changed))
    warm_up = 0 if options.skip else 1
    for count in range(1 - warm_up, options.rounds + 1):
        for name, turn in list(turns.items()):
            started = time.perf_counter()
            took = attempt(name, turn)
            if took is None:
                continue
            seconds = time.perf_counter() - started
            print(f"turn {count}, {name}: {took.images / took.seconds:.1f}/s ({seconds:.1f} s)", flush=True)
            if count > 0:
                samples.setdefault(name, []).append(took)
                write(found(), count)
    write(found(), options.rounds)
    return found()


def _summary(turns: list[Turn], plain: list[Turn]) -> dict[str, Any]:
    speeds = [turn.images / turn.seconds for turn in turns]
    against = [turn.images / turn.seconds for turn in plain]
    waits = [turn.waited / turn.seconds for turn in turns if turn.waited is not None]
    return {
        "median": float(np.median(speeds)),
        "min": min(speeds),
        "max": max(speeds),
        # Turn by turn, since the machine's speed may change between them.
        "over_plain": float(np.median([ours / theirs for ours, theirs in zip(speeds, against, strict=False)]))
        if against
        else None,
        "data_wait_fraction": float(np.median(waits)) if waits else None,
    }


class _Trained:
    """A turn of edgemate's training: some batches of an epoch, the first `skip` of them untimed."""

    def __init__(self, recipe: Recipe, batches: int, skip: int) -> None:
        data = prepare_data(recipe)
        model = _model(recipe, data)
        method = build_method(recipe.distillation, setting_of(recipe, model, len(data.classes)))
        self._recipe = recipe
        device = device_of(ALONE, recipe.training.accelerator)
        place = choose_place(recipe.data.cache, recipe.optimization.epochs, data, method, device)
        self._loader = make_feed(data, method, device, place).train
        self._batches, self._skip = _batches(batches, skip, len(self._loader)), skip
        settings = recipe.training
        shape = (data.spec.channels, data.spec.height, data.spec.width)
        self._numerics = choose_numerics(settings, model, method, shape)
        self._task = MultiExitTask(
            model,
            method,
            recipe.optimization,
            self._batches,
            channels_last=self._numerics.channels_last,
            compiled=settings.compile,
            cuda_graphs=settings.cuda_graphs,
        )
        method.bind(model)

    def __call__(self) -> Turn:
        settings = self._recipe.training
        clock = _Clock(self._skip)
        trainer = Trainer(
            accelerator=settings.accelerator,
            devices=1,
            precision=PRECISIONS[self._numerics.precision],  # type: ignore[arg-type]
            max_epochs=1,
            limit_train_batches=self._batches,
            callbacks=[clock],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            benchmark=True,
        )
        trainer.fit(self._task, self._loader)
        return clock.turn


class _Clock(Callback):
    """Time the batches of an epoch from number `skip` on, and the wait for each."""

    def __init__(self, skip: int) -> None:
        self._skip = skip
        self._images, self._waited = 0, 0.0
        self._started = self._ready = self._ended = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = self._ready = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx >= self._skip:
            self._waited += time.perf_counter() - self._ready
            self._images += len(batch[0])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx + 1 in (self._skip, trainer.num_training_batches):
            _wait(pl_module.device.type)
        self._ready = self._ended = time.perf_counter()
        if batch_idx + 1 == self._skip:
            self._started = self._ready

    @property
    def turn(self) -> Turn:
        return Turn(self._images, self._ended - self._started, self._waited)


def _batches(timed: int, skip: int, available: int) -> int:
    """Number of batches of a turn: `skip` + `timed`, at most `available`."""
    if available <= skip:
        raise UsageError(f"--skip {skip}: an epoch has {available} batches; skip fewer, or take more images")
    return min(skip + timed, available)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _workers(device: str) -> int:
    """Number of loader workers: 0 on a CPU, where they would run during another row's turn."""
    return min(8, usable_cores() // 2) if device == "cuda" else 0


class _PlainLoop:
    """A turn of the plain loop."""

    def __init__(self, recipe: Recipe, data: PreparedData, device: str, batches: int, skip: int) -> None:
        self._model = _model(recipe, data).to(device)
        settings = recipe.optimization
        groups = [{"params": list(self._model.parameters()), "weight_decay": settings.weight_decay}]
        self._optimizer = OPTIMIZERS.get(settings.optimizer)(groups, settings.lr, **settings.optimizer_options)
        transform = v2.Compose(
            [
                v2.RandomCrop((data.spec.height, data.spec.width), padding=4),
                v2.RandomHorizontalFlip(),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(data.spec.mean, data.spec.std),
            ]
        )
        self._loader = DataLoader(
            _PilImages(data, transform),
            batch_size=settings.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=recipe.training.workers,
            persistent_workers=recipe.training.workers > 0,
            pin_memory=device == "cuda",
        )
        self._device = device
        self._batches, self._skip = _batches(batches, skip, len(self._loader)), skip

    def __call__(self) -> Turn:
        model, optimizer = self._model.train(), self._optimizer
        seen = 0
        started = time.perf_counter()
        for count, (images, labels) in enumerate(itertools.islice(self._loader, self._batches)):
            images = images.to(self._device, non_blocking=True)
            labels = labels.to(self._device, non_blocking=True)
            logits = model(images)
            loss = sum(cross_entropy(logits[:, exit], labels) for exit in range(model.exits))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen += len(labels)
            if count + 1 == self._skip:
                _wait(self._device)
                seen, started = 0, time.perf_counter()
        _wait(self._device)
        return Turn(seen, time.perf_counter() - started)


class _PilImages(Dataset[Any]):
    def __init__(self, data: PreparedData, transform: v2.Transform) -> None:
        self._images, self._indices, self._transform = data.source.train, data.splits.train, transform

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, place: int) -> Any:
        index = int(self._indices[place])
        return self._transform(self._images.image(index)), int(self._images.labels[index])


def _model(recipe: Recipe, data: PreparedData) -> MultiExitModel:
    torch.manual_seed(0)
    return build_model(recipe.model, recipe.exits, data.spec.channels, len(data.classes))


def _random(folder: Path, device: str) -> list[str]:
    """Overrides for noise of CIFAR's shape, written to `folder`; on a GPU as many images as CIFAR's epoch."""
    chosen = np.random.default_rng(0)
    train, classes = 50_000 if device == "cuda" else 5_000, 100
    path = folder / "noise.npz"
    files.write_arrays(
        path,
        {
            "x_train": chosen.integers(0, 256, (train, 32, 32, 3), dtype=np.uint8),
            "y_train": np.arange(train) % classes,
            "x_test": chosen.integers(0, 256, (classes, 32, 32, 3), dtype=np.uint8),
            "y_test": np.arange(classes),
        },
    )
    return ["data.name=arrays", f"data.options.path={path}"]


def _chosen(names: list[str]) -> dict[str, tuple[str, ...]]:
    known = ON_CPU | GRID
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"--variants: unknown variant {unknown[0]!r}; known: {'; '.join(known)}")
    return {name: known[name] for name in names}


def _output(options: argparse.Namespace) -> Path:
    return Path(__file__).parent / "results" / f"train_throughput_{options.device}.json"


def _print(found: dict[str, dict[str, Any]], options: argparse.Namespace) -> None:
    print(f"{'':<56} {'images/s':>10} {'over plain':>10} {'waiting':>8}")
    for name, row in found.items():
        if reason := row.get("skipped") or row.get("failed"):
            print(f"{name:<56} {'skipped' if 'skipped' in row else 'failed'}: {reason}")
            continue
        over = "" if row["over_plain"] is None else f"{row['over_plain']:.2f}"
        waiting = "" if row["data_wait_fraction"] is None else f"{100 * row['data_wait_fraction']:.1f} %"
        print(f"{name:<56} {row['median']:>10.1f} {over:>10} {waiting:>8}")
    if not options.grid:
        print(f"target, on a processor with bf16: bf16 at least {TARGET:.1f} times the plain loop")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override recipe settings")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--grid", action="store_true", help="all settings for a GPU")
    parser.add_argument("--variants", action="append", metavar="NAME", help="only this row; repeatable")
    parser.add_argument("--random", action="store_true", help="noise instead of the recipe's data")
    parser.add_argument("--batches", type=int, help="per turn; default: 4 on a CPU, 100 on a GPU")
    parser.add_argument("--skip", type=int, help="untimed first batches of a turn; default: 0 on a CPU, 20 on a GPU")
    parser.add_argument("--rounds", type=int, default=5, help="counted turns of each row")
    parser.add_argument("--threads", type=int, help="threads of torch, on a CPU")
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/train_throughput_<device>.json")
    options = parser.parse_args()
    options.batches = options.batches or (100 if options.device == "cuda" else 4)
    if options.skip is None:
        options.skip = 20 if options.device == "cuda" else 0
    if options.threads:
        torch.set_num_threads(options.threads)
    return options


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning.*")
    try:
        main()
    except EdgemateError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
