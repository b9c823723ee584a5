"""Compare the values of `exits.ensemble`: none, the mean of exits 1 … k, or MATE's teacher k limited to exits 1 … k.

    python benchmarks/learned_ensemble.py RUN [RUN ...]

Give finished `mate` runs with `exits.ensemble: none`, one per seed. Training uses the raw logits of the exits and
never the ensembled ones, so a run trained with `learned` or `mean` has the same weights, and its ensembled logits
follow from the stored test logits. The only cost is the weighted sum: k · C MACs at exit k.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgemate import files
from edgemate.core.scoring import exit_accuracy
from edgemate.machine import machine_metadata
from edgemate.models import mean_mixing, softmax_mixing
from edgemate.runs import Run, read_tensors


def main() -> None:
    options = _options()
    runs = [Run.open(path) for path in options.runs]
    found: dict[str, list[list[float]]] = {"none": [], "mean": [], "learned": []}
    for run in runs:
        logits, labels = run.read_logits("test")
        for name, mixing in _mixings(run, logits.shape[1]).items():
            ensembled = logits if mixing is None else np.einsum("kj,njc->nkc", mixing, logits)
            found[name].append(exit_accuracy(ensembled, labels).tolist())
    recipe = runs[0].read_recipe()
    classes, exits = len(runs[0].read_metadata().classes), len(found["none"][0])
    text = _markdown(found, recipe.data.name, recipe.model.backbone, len(runs), classes)
    print(text)
    files.write_text(options.output.with_suffix(".md"), text)
    files.write_json(
        options.output,
        {
            "benchmark": "learned_ensemble",
            "data": recipe.data.model_dump(mode="json"),
            "model": recipe.model.model_dump(mode="json"),
            "distillation": recipe.distillation.model_dump(mode="json"),
            "runs": [run.name for run in runs],
            "extra_macs": [k * classes for k in range(1, exits + 1)],
            "test_accuracy": found,
            "machine": machine_metadata(),
        },
    )


def _mixings(run: Run, exits: int) -> dict[str, np.ndarray[Any, Any] | None]:
    recipe = run.read_recipe()
    if recipe.exits.ensemble != "none":
        raise SystemExit(f"{run.path}: has exits.ensemble `{recipe.exits.ensemble}`; give a run with `none`")
    # With a common scale, or beside other methods, its tensors are those of a part of the sum.
    found = [one for name, one in read_tensors(run.method_path).items() if name.rpartition(".")[2] == "scores"]
    scores = found[0] if len(found) == 1 else None
    if scores is None or tuple(scores.shape) != (exits, exits):
        raise SystemExit(f"{run.path}: has no learned teacher for each exit; give a run of `mate`")
    return {
        "none": None,
        "mean": mean_mixing(exits).numpy(),
        "learned": softmax_mixing(torch.as_tensor(scores)).numpy(),
    }


def _markdown(found: Mapping[str, list[list[float]]], data: str, backbone: str, runs: int, classes: int) -> str:
    exits = range(len(found["none"][0]))
    lines = [
        f"{backbone} on {data}, {runs} run{'s' if runs > 1 else ''} of `mate`; test accuracy in %, mean ± sample "
        f"standard deviation. The sum costs {classes} MACs per exit that is in it.",
        "",
        f"| `exits.ensemble` | {' | '.join(f'exit {k + 1}' for k in exits)} | mean over exits |",
        "|---|" + "---|" * (len(exits) + 1),
    ]
    for name, rows in found.items():
        columns = [[row[k] for row in rows] for k in exits] + [[statistics.fmean(row) for row in rows]]
        lines.append(f"| `{name}` | {' | '.join(map(_mean_and_spread, columns))} |")
    return "\n".join([*lines, ""])


def _mean_and_spread(fractions: list[float]) -> str:
    mean = f"{100 * statistics.fmean(fractions):.2f}"
    return mean if len(fractions) < 2 else f"{mean} ± {100 * statistics.stdev(fractions):.2f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "learned_ensemble.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
