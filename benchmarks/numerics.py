"""Compare the choice of `training.precision: auto` and `channels_last: auto` with every explicit choice.

    python benchmarks/numerics.py --threads 2              this machine
    python benchmarks/numerics.py --threads 2 --as-avx2    the same machine, limited to AVX2

A step is forward, the method's loss, backward and the optimizer's step on one batch of noise, without a loader. All
settings of a network take their steps in turn in one process, so that other load on the machine affects all of them
alike. `auto` is one of the settings; its figure is that of the same explicit choice, and the last column is how much
slower it is than the best. Results are written after every network.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgemate import files
from edgemate.config import Recipe, load_recipe
from edgemate.distillation import build_method
from edgemate.distillation.building import setting_of
from edgemate.models import build_model
from edgemate.runs import environment_metadata
from edgemate.timing import time_in_turns
from edgemate.training.numerics import Numerics, choose_numerics, cpu_features
from edgemate.training.task import MultiExitTask

RECIPES = Path(__file__).parents[1] / "recipes"
# Name → recipe, overrides, side of the images, classes.
NETWORKS: dict[str, tuple[str, tuple[str, ...], int, int]] = {
    "resnet8": ("small/cifar100_resnet8_mate.yaml", (), 32, 100),
    "resnet18": ("cifar100/resnet18_mate.yaml", ("optimization.batch_size=32",), 32, 100),
    "mobilenet_v3_small": (
        "image_folder/resnet18_mate.yaml",
        ("model.backbone=mobilenet_v3_small", "optimization.batch_size=16"),
        224,
        10,
    ),
}
AS_AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
# A setting this many times slower than the best is timed only twice.
_HOPELESS = 3.0
SETTINGS = {
    f"{precision}{', channels_last' if channels_last else ''}": (precision, channels_last)
    for precision in ("fp32", "bf16")
    for channels_last in (False, True)
}


def main() -> None:
    options = _options()
    if options.as_avx2 and any(os.environ.get(name) != value for name, value in AS_AVX2.items()):
        # The libraries read these when they are loaded.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | AS_AVX2)
    torch.set_num_threads(options.threads)
    metadata = {
        "benchmark": "numerics",
        "machine": environment_metadata(),
        "features": cpu_features(),
        "as_avx2": options.as_avx2,
        "threads": options.threads,
        "rounds": options.rounds,
        "unit": "images per second",
    }
    found: dict[str, Any] = {}
    print(f"features: {cpu_features()}; {options.threads} threads; images/s", flush=True)
    for network in options.networks:
        found[network] = _measure(network, options)
        files.write_json(options.output, {**metadata, "results": found})
        row = found[network]
        shown = "  ".join(f"{name} {rate:.1f}" for name, rate in row["rates"].items())
        print(f"{network:<20} {shown}  auto: {row['auto']}, {100 * row['loss']:.1f} % below the best", flush=True)


def _measure(network: str, options: argparse.Namespace) -> dict[str, Any]:
    name, overrides, side, classes = NETWORKS[network]
    recipe = load_recipe(RECIPES / name, ["model.options.pretrained=false", *overrides] if side == 224 else overrides)
    auto, safe = _chosen(recipe, side, classes)
    settings = {name: chosen for name, chosen in SETTINGS.items() if safe or not chosen[1]}
    steps = {name: _Step(recipe, side, classes, *chosen) for name, chosen in settings.items()}
    seconds = _in_turn(steps, options.warmup, options.rounds)
    batch = recipe.optimization.batch_size
    rates = {name: batch / float(np.median(taken)) for name, taken in seconds.items()}
    chosen = next(name for name, given in SETTINGS.items() if given == (auto.precision, auto.channels_last))
    return {
        "recipe": name,
        "overrides": list(overrides),
        "batch": batch,
        "rates": rates,
        "auto": chosen,
        "reasons": auto.to_json(),
        "loss": 1 - rates[chosen] / max(rates.values()),
    }


def _chosen(recipe: Recipe, side: int, classes: int) -> tuple[Numerics, bool]:
    """The choice of `auto`, and whether channels_last is safe for this network on this machine."""
    model = build_model(recipe.model, recipe.exits, 3, classes)
    method = build_method(recipe.distillation, setting_of(recipe, model, classes))
    auto = recipe.training.model_copy(update={"precision": "auto", "channels_last": "auto", "accelerator": "cpu"})
    explicit = auto.model_copy(update={"channels_last": True})
    shape = (3, side, side)
    return choose_numerics(auto, model, method, shape), choose_numerics(explicit, model, method, shape).channels_last


class _Step:
    """A training step of the recipe on one fixed batch, per call."""

    def __init__(self, recipe: Recipe, side: int, classes: int, precision: str, channels_last: bool) -> None:
        torch.manual_seed(0)
        model = build_model(recipe.model, recipe.exits, 3, classes)
        method = build_method(recipe.distillation, setting_of(recipe, model, classes))
        self._task = MultiExitTask(model, method, recipe.optimization, 1000, channels_last=channels_last).train()
        method.bind(model)
        self._optimizer: Any = self._task.configure_optimizers()["optimizer"]  # type: ignore[index]
        self._bf16 = precision == "bf16"
        batch = recipe.optimization.batch_size
        self._batch: tuple[Tensor, Tensor] = (torch.randn(batch, 3, side, side), torch.randint(classes, (batch,)))

    def __call__(self) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._bf16):
            loss = self._task.training_step(self._batch, 0)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()


def _in_turn(steps: dict[str, Callable[[], None]], warmup: int, rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for count in range(warmup + rounds):
        best = min(map(min, filter(None, seconds.values())), default=0.0)
        # Reverse every other round, so that no step always follows the same one.
        names = list(steps) if count % 2 == 0 else reversed(list(steps))
        calls = {
            name: (steps[name],) for name in names if len(seconds[name]) < 2 or min(seconds[name]) <= _HOPELESS * best
        }
        for timed in time_in_turns(calls):
            if count >= warmup:
                seconds[timed.key].append(1e-3 * timed.milliseconds)
    return seconds


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--as-avx2", action="store_true", help="limit the libraries to AVX2")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/numerics[_as_avx2].json")
    options = parser.parse_args()
    name = "numerics_as_avx2.json" if options.as_avx2 else "numerics.json"
    options.output = options.output or Path(__file__).parent / "results" / name
    return options


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    main()
