"""Pictures per second of training, loader included: a recipe as edgemate trains it, against a plain loop.

    python benchmarks/train_throughput.py                       on a CPU: fp32 and bf16
    python benchmarks/train_throughput.py --device cuda --grid  on a GPU: what helps by how much

The plain loop is what one would write by hand: torchvision's transforms picture by picture in a DataLoader with as many
workers as the recipe has, float32, the default memory layout, the sum of the exits' cross-entropies, the recipe's
optimiser. Every other row is the recipe through edgemate, Lightning included, with some of its `training` settings
changed. All take turns in one process, so that whatever else the machine does falls on all of them alike; the first
turn warms up, compiles, and is not counted. On a CPU pictures are prepared in line, so that no worker goes on preparing
in another's turn. The data is the recipe's own, or with `--random` noise of the same shape.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from edgemate import files
from edgemate.config import Recipe, load_recipe
from edgemate.data import Data
from edgemate.distillation import build_method
from edgemate.models import MultiExitModel, build_model
from edgemate.registry import OPTIMIZERS
from edgemate.runs import environment_facts
from edgemate.training.checking import check_recipe, setting_of
from edgemate.training.data import data_of, loaders_of
from edgemate.training.speed import Speed
from edgemate.training.task import MultiExitTask
from edgemate.training.train import PRECISIONS

RECIPE = Path(__file__).parents[1] / "recipes" / "cifar100" / "resnet18_mate.yaml"
TARGET = 2.0  # of bf16 over the plain loop, on a CPU whose processor has bf16

BF16 = ("training.precision=bf16",)
THERE = (*BF16, "training.data_on_device=true")
COMPILED = (*THERE, "training.compile=true")
GRAPHS = (*COMPILED, "training.cuda_graphs=true")
LARGE = "optimization.batch_size=512"
ON_CPU = {
    "fp32": ("training.precision=fp32",),
    "bf16": BF16,
    "bf16, data on device": THERE,
}
GRID = {
    "fp32, loader": ("training.precision=fp32",),
    "bf16, loader": BF16,
    "fp32, data on device": ("training.precision=fp32", "training.data_on_device=true"),
    "bf16, data on device": THERE,
    "bf16, data on device, not channels_last": (*THERE, "training.channels_last=false"),
    "bf16, data on device, compiled": COMPILED,
    "bf16, data on device, compiled, CUDA graphs": GRAPHS,
    "batch 512, bf16, loader": (*BF16, LARGE),
    "batch 512, bf16, data on device": (*THERE, LARGE),
    "batch 512, bf16, data on device, compiled": (*COMPILED, LARGE),
    "batch 512, bf16, data on device, compiled, CUDA graphs": (*GRAPHS, LARGE),
}


@dataclass(frozen=True)
class Turn:
    """What one turn took: pictures, seconds, and those of them in which the loop waited for a batch."""

    pictures: int
    seconds: float
    waited: float | None = None


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        overrides = options.set + _random(Path(folder), options.device) if options.random else options.set
        found = _measure(options, overrides)
    _print(found, options)
    recipe = load_recipe(options.recipe, overrides)
    files.write_json(
        options.output or _output(options),
        {
            "benchmark": "train_throughput",
            "recipe": f"{options.recipe.parent.name}/{options.recipe.name}",
            "overrides": options.set,
            "network": recipe.model.model_dump(),
            "method": recipe.distillation.method,
            "pictures": "noise of CIFAR's shape" if options.random else recipe.data.name,
            "machine": environment_facts(),
            "device": options.device,
            "turns": options.rounds,
            "batches_per_turn": options.batches,
            "unit": "pictures per second",
            "target_ratio": None if options.grid else TARGET,
            "results": found,
        },
    )


def _measure(options: argparse.Namespace, overrides: list[str]) -> dict[str, dict[str, Any]]:
    settings = (GRID if options.grid else ON_CPU) if options.variants is None else _chosen(options.variants)
    turns: dict[str, Callable[[], Turn]] = {}
    left_out = {}
    on_device = (
        ["training.accelerator=gpu"] if options.device == "cuda" else ["training.accelerator=cpu", "training.workers=0"]
    )
    base = load_recipe(options.recipe, [*on_device, *overrides])
    data = data_of(base)
    turns["plain fp32 loop"] = _PlainLoop(base, data, options.device, options.batches)
    for name, changed in settings.items():
        graphs = "training.cuda_graphs=true" in changed
        if graphs and options.device == "cpu":
            left_out[name] = "CUDA graphs need a GPU"
            continue
        recipe = load_recipe(options.recipe, [*on_device, *changed, *overrides])
        check_recipe(recipe, name)
        turns[name] = _Trained(recipe, options.batches)
    samples: dict[str, list[Turn]] = {name: [] for name in turns}
    for count in range(options.rounds + 1):
        for name, turn in turns.items():
            started = time.perf_counter()
            took = turn()
            print(f"turn {count}, {name}: {took.pictures / took.seconds:.1f}/s ({time.perf_counter() - started:.1f} s)")
            if count > 0:
                samples[name].append(took)
    return {
        **{name: _summary(found, samples["plain fp32 loop"]) for name, found in samples.items()},
        **{name: {"left_out": reason} for name, reason in left_out.items()},
    }


def _summary(turns: list[Turn], plain: list[Turn]) -> dict[str, Any]:
    speeds = [turn.pictures / turn.seconds for turn in turns]
    against = [turn.pictures / turn.seconds for turn in plain]
    waits = [turn.waited / turn.seconds for turn in turns if turn.waited is not None]
    return {
        "median": float(np.median(speeds)),
        "least": min(speeds),
        "most": max(speeds),
        # Turn by turn, since the machine may change its mind between them.
        "over_plain": float(np.median([ours / theirs for ours, theirs in zip(speeds, against, strict=True)])),
        "share_waiting_for_data": float(np.median(waits)) if waits else None,
    }


class _Trained:
    """Some batches of an epoch by edgemate's own training."""

    def __init__(self, recipe: Recipe, batches: int) -> None:
        data = data_of(recipe)
        model = _model(recipe, data)
        method = build_method(recipe.distillation, setting_of(recipe, model, len(data.classes)))
        self._recipe, self._batches = recipe, batches
        self._loader = loaders_of(recipe, data, method)[0]
        settings = recipe.training
        self._task = MultiExitTask(
            model,
            method,
            recipe.optimization,
            min(batches, len(self._loader)),
            channels_last=settings.channels_last,
            compiled=settings.compile,
            cuda_graphs=settings.cuda_graphs,
        )
        method.bind(model)

    def __call__(self) -> Turn:
        settings = self._recipe.training
        with tempfile.TemporaryDirectory() as folder:
            speed = Speed(Path(folder) / "speed.csv")
            trainer = Trainer(
                accelerator=settings.accelerator,
                devices=1,
                precision=PRECISIONS[settings.precision],  # type: ignore[arg-type]
                max_epochs=1,
                limit_train_batches=self._batches,
                callbacks=[speed],
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                benchmark=True,
            )
            trainer.fit(self._task, self._loader)
        [row] = speed.rows
        return Turn(int(row["pictures"]), row["seconds"], row["data_seconds"])


class _PlainLoop:
    """The loop one would write by hand."""

    def __init__(self, recipe: Recipe, data: Data, device: str, batches: int) -> None:
        self._model = _model(recipe, data).to(device)
        settings = recipe.optimization
        groups = [{"params": list(self._model.parameters()), "weight_decay": settings.weight_decay}]
        self._optimizer = OPTIMIZERS.get(settings.optimizer)(groups, settings.lr, **settings.optimizer_options)
        transform = v2.Compose(
            [
                v2.RandomCrop((data.facts.height, data.facts.width), padding=4),
                v2.RandomHorizontalFlip(),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(data.facts.mean, data.facts.std),
            ]
        )
        self._loader = DataLoader(
            _PilPictures(data, transform),
            batch_size=settings.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=recipe.training.workers,
            persistent_workers=recipe.training.workers > 0,
            pin_memory=device == "cuda",
        )
        self._device, self._batches = device, batches

    def __call__(self) -> Turn:
        model, optimizer = self._model.train(), self._optimizer
        pictures = 0
        started = time.perf_counter()
        for images, labels in itertools.islice(self._loader, self._batches):
            images = images.to(self._device, non_blocking=True)
            labels = labels.to(self._device, non_blocking=True)
            logits = model(images)
            loss = sum(cross_entropy(logits[:, exit], labels) for exit in range(model.exits))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            pictures += len(labels)
        if self._device == "cuda":
            torch.cuda.synchronize()
        return Turn(pictures, time.perf_counter() - started)


class _PilPictures(Dataset[Any]):
    def __init__(self, data: Data, transform: v2.Transform) -> None:
        self._pictures, self._indices, self._transform = data.source.train, data.splits.train, transform

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, place: int) -> Any:
        index = int(self._indices[place])
        return self._transform(self._pictures.picture(index)), int(self._pictures.labels[index])


def _model(recipe: Recipe, data: Data) -> MultiExitModel:
    torch.manual_seed(0)
    return build_model(recipe.model, recipe.exits, data.facts.channels, len(data.classes))


def _random(folder: Path, device: str) -> list[str]:
    """Overrides for noise of CIFAR's shape, as many pictures as an epoch of it on a GPU."""
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
        raise SystemExit(f"no variant {unknown[0]!r}; known: {'; '.join(known)}")
    return {name: known[name] for name in names}


def _output(options: argparse.Namespace) -> Path:
    return Path(__file__).parent / "results" / f"train_throughput_{options.device}.json"


def _print(found: dict[str, dict[str, Any]], options: argparse.Namespace) -> None:
    print(f"{'':<56} {'pictures/s':>10} {'over plain':>10} {'waiting':>8}")
    for name, row in found.items():
        if "left_out" in row:
            print(f"{name:<56} left out: {row['left_out']}")
            continue
        waiting = "" if row["share_waiting_for_data"] is None else f"{100 * row['share_waiting_for_data']:.1f} %"
        print(f"{name:<56} {row['median']:>10.1f} {row['over_plain']:>10.2f} {waiting:>8}")
    if not options.grid:
        print(f"aim, where the processor has bf16: bf16 at least {TARGET:.1f} times the plain loop")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="laid over the recipe")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--grid", action="store_true", help="all settings that may help on a GPU")
    parser.add_argument("--variants", action="append", metavar="NAME", help="only this row beside the plain loop")
    parser.add_argument("--random", action="store_true", help="noise instead of the recipe's data")
    parser.add_argument("--batches", type=int, help="per turn; 4 on a CPU, 100 on a GPU if absent")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each that count")
    parser.add_argument("--threads", type=int, help="torch's, on a CPU")
    parser.add_argument("--output", type=Path, help="benchmarks/results/train_throughput_<device>.json if absent")
    options = parser.parse_args()
    options.batches = options.batches or (100 if options.device == "cuda" else 4)
    if options.threads:
        torch.set_num_threads(options.threads)
    return options


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning.*")
    main()
