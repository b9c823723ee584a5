"""Measure the time of a training step with a method against joint cross-entropy, on the same network and images.

    python benchmarks/step_cost.py
    python benchmarks/step_cost.py --methods mate eed dks --networks resnet18 --device cuda

A step is forward, the method's loss, backward and the optimizer, without a loader. Networks with equal weights take
their steps in turn in one process, each on the same batch. The ratio is the median of the ratios per round, since
consecutive steps see the same load. The results are written after every network; a failure is listed with its reason.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping
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
from edgemate.timing import time_rounds
from edgemate.training.checks import check_recipe
from edgemate.training.numerics import AUTOCAST, choose_numerics
from edgemate.training.task import MultiExitTask

TARGET = 1.05  # for MATE
RECIPES = Path(__file__).parents[1] / "recipes"
NETWORKS = {
    "resnet8": RECIPES / "small" / "cifar100_resnet8_joint_ce.yaml",
    "resnet18": RECIPES / "cifar100" / "resnet18_joint_ce.yaml",
    "mobilenet_v2": RECIPES / "cifar100" / "mobilenet_v2_joint_ce.yaml",
}
CLASSES = 100


def main() -> None:
    options = _options()
    metadata = {
        "benchmark": "step_cost",
        "machine": environment_metadata(),
        "device": options.device,
        "threads": torch.get_num_threads(),
        "rounds": options.rounds,
        "target_ratio": TARGET,
    }
    found: dict[str, dict[str, Any]] = {}
    for network in options.networks:
        try:
            found[network] = _measure(network, options)
        except Exception as error:  # continue with the other networks
            found[network] = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        files.write_json(options.output, {**metadata, "results": found})
    print(f"{'':<14} {'':<22} {'p50, ms':>9} {'over joint_ce':>13}  p25 to p75 over rounds")
    for network, rows in found.items():
        if "failed" in rows:
            print(f"{network:<14} failed: {rows['failed']}")
            continue
        for method, row in rows["steps"].items():
            spread = "" if method == "joint_ce" else f"{row['ratio_p25']:.3f} to {row['ratio_p75']:.3f}"
            print(f"{network:<14} {method:<22} {row['p50_ms']:>9.2f} {row['ratio']:>13.3f}  {spread}")
    print(f"target: mate at most {TARGET:.2f}")


def _measure(network: str, options: argparse.Namespace) -> dict[str, Any]:
    steps: dict[str, _Step] = {}
    for method in ["joint_ce", *options.methods]:
        recipe = load_recipe(NETWORKS[network], [*options.set, f"distillation.method={method}"])
        check_recipe(recipe, f"{network}, {method}")
        steps[method] = _Step(recipe, options.batch or recipe.optimization.batch_size, options.device)
    times = _in_turn(steps, options.warmup, options.rounds)
    rows = {}
    for method, taken in times.items():
        ratios = np.array(taken) / np.array(times["joint_ce"])
        p25, p50, p75 = np.percentile(ratios, (25, 50, 75)).tolist()
        rows[method] = {"p50_ms": float(np.median(taken)), "ratio": p50, "ratio_p25": p25, "ratio_p75": p75}
    return {
        "recipe": f"{NETWORKS[network].parent.name}/{NETWORKS[network].name}",
        "overrides": options.set,
        **steps["joint_ce"].numerics.to_json(),
        "batch": options.batch or recipe.optimization.batch_size,
        "steps": rows,
    }


def _in_turn(steps: Mapping[str, Callable[[], None]], warmup: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of every step in every round."""

    def calls(number: int) -> dict[str, Callable[[], None]]:
        # Reverse every other round, so that no step always follows the same one.
        return {method: steps[method] for method in (steps if number % 2 == 0 else reversed(list(steps)))}

    times = time_rounds(calls, warmup=warmup, repeats=rounds)
    return {method: times[method] for method in steps}


class _Step:
    """A training step of the recipe on one fixed batch, per call."""

    def __init__(self, recipe: Recipe, batch: int, device: str) -> None:
        torch.manual_seed(0)
        model = build_model(recipe.model, recipe.exits, 3, CLASSES)
        method = build_method(recipe.distillation, setting_of(recipe, model, CLASSES))
        self.numerics = choose_numerics(recipe.training, model, method, (3, 32, 32))
        self._task = MultiExitTask(model, method, recipe.optimization, 1000, channels_last=self.numerics.channels_last)
        method.bind(model)
        self._task.to(device).train()
        self._optimizer: Any = self._task.configure_optimizers()["optimizer"]  # type: ignore[index]
        self._device = device
        self._autocast = AUTOCAST[self.numerics.precision]
        self._batch: tuple[Tensor, Tensor] = (
            torch.randn(batch, 3, 32, 32).to(device),
            torch.randint(CLASSES, (batch,)).to(device),
        )

    def __call__(self) -> None:
        with torch.autocast(self._device, dtype=self._autocast, enabled=self._autocast is not None):
            loss = self._task.training_step(self._batch, 0)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        if self._device == "cuda":
            torch.cuda.synchronize()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["mate"], help="methods to compare with joint_ce")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=["resnet8", "resnet18"])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override recipe settings")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, help="images per batch; default: the recipe's")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--threads", type=int, help="threads of torch, on a CPU")
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/step_cost_<device>.json")
    options = parser.parse_args()
    options.output = options.output or Path(__file__).parent / "results" / f"step_cost_{options.device}.json"
    if options.threads:
        torch.set_num_threads(options.threads)
    return options


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    main()
