"""Compare the values of `exits.ensemble`: none, the mean of exits 1 … k, or MATE's teacher k limited to exits 1 … k.

    python benchmarks/learned_ensemble.py RUN [RUN ...]

Give finished runs with `exits.ensemble: none`, of one or several methods, one per seed. Training uses the raw logits of
the exits and never the ensembled ones, so a run trained with `learned` or `mean` has the same weights, and its
ensembled logits follow from the stored test logits. The only cost is the weighted sum: k · C MACs at exit k. Methods
without a learned teacher for each exit have no `learned`, and those whose exits are sums already have `none` alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgemate import files
from edgemate.comparison.paired import difference
from edgemate.config import Distillation
from edgemate.config.options import part_options
from edgemate.core.scoring import exit_accuracy
from edgemate.errors import EdgemateError, UsageError
from edgemate.machine import machine_metadata
from edgemate.models import mean_mixing, softmax_mixing
from edgemate.registry import METHODS
from edgemate.runs import Run, read_tensors
from edgemate.wording import counted

Accuracies = dict[str, list[list[float]]]
"""Ensemble → run → exit → accuracy, a fraction."""


def main() -> None:
    options = _options()
    try:
        runs = [Run.open(path) for path in options.runs]
        methods = _by_method(runs)
        found = {label: accuracies(of) for label, of in methods.items()}
    except EdgemateError as error:
        raise SystemExit(str(error)) from error
    recipe, classes = runs[0].read_recipe(), len(runs[0].read_metadata().classes)
    text = markdown(found, recipe.data.name, recipe.model.backbone, classes)
    print(text)
    files.write_text(options.output.with_suffix(".md"), text)
    files.write_json(
        options.output,
        {
            "benchmark": "learned_ensemble",
            "data": recipe.data.model_dump(mode="json"),
            "model": recipe.model.model_dump(mode="json"),
            "extra_macs": [k * classes for k in range(1, len(next(iter(found.values()))["none"][0]) + 1)],
            "methods": [
                {
                    "label": label,
                    "distillation": of[0].read_recipe().distillation.model_dump(mode="json"),
                    "runs": [run.name for run in of],
                    "test_accuracy": found[label],
                }
                for label, of in methods.items()
            ],
            "machine": machine_metadata(),
        },
    )


def _by_method(runs: list[Run]) -> dict[str, list[Run]]:
    """Runs that differ in their seed alone, by their method, or by their name without the seed where that says more.

    Raises:
        UsageError: the runs are of different networks or images.
    """
    first = runs[0].read_recipe()
    found: dict[str, list[Run]] = {}
    for run in runs:
        recipe = run.read_recipe()
        if (recipe.data, recipe.model, recipe.exits) != (first.data, first.model, first.exits):
            raise UsageError(f"{run.path}: has other data, another network or other exits than {runs[0].path}")
        found.setdefault(run.name.rpartition("-seed")[0] or run.name, []).append(run)
    labels = {name: _label(of[0].read_recipe().distillation) or name for name, of in found.items()}
    if len(set(labels.values())) < len(labels):  # they differ in something else, which only their names tell
        return found
    return {labels[name]: of for name, of in found.items()}


def _label(distillation: Distillation) -> str | None:
    """The method with options that are not its defaults, as `edgemate compare` takes it; None of a sum of methods."""
    name = distillation.method
    if name is None:
        return None
    fields = part_options(METHODS, name, distillation.options).model_fields
    options = ";".join(
        f"{option}={json.dumps(value)}"
        for option, value in distillation.options.items()
        if option not in fields or value != fields[option].default
    )
    return f"{name}:{options}" if options else name


def accuracies(runs: list[Run]) -> Accuracies:
    """The test accuracies of one method's runs with every ensemble that is to be had of them.

    Raises:
        UsageError: a run has an ensemble already.
    """
    found: Accuracies = {}
    for run in runs:
        logits, labels = run.read_logits("test")
        for name, mixing in _mixings(run, logits.shape[1]).items():
            ensembled = logits if mixing is None else np.einsum("kj,njc->nkc", mixing, logits)
            found.setdefault(name, []).append(exit_accuracy(ensembled, labels).tolist())
    return found


def _mixings(run: Run, exits: int) -> dict[str, np.ndarray[Any, Any] | None]:
    recipe = run.read_recipe()
    if recipe.exits.ensemble != "none":
        raise UsageError(f"{run.path}: has exits.ensemble {recipe.exits.ensemble}; give a run with none")
    found: dict[str, np.ndarray[Any, Any] | None] = {"none": None}
    if "mixing" in read_tensors(run.model_path):  # its exits are sums already
        return found
    found["mean"] = mean_mixing(exits).numpy()
    # With a common scale, or beside other methods, its tensors are those of a part of the sum.
    tensors = read_tensors(run.method_path) if run.method_path.exists() else {}
    scores = [one for name, one in tensors.items() if name.rpartition(".")[2] == "scores"]
    if len(scores) == 1 and tuple(scores[0].shape) == (exits, exits):
        found["learned"] = softmax_mixing(torch.as_tensor(scores[0])).numpy()
    return found


def markdown(found: Mapping[str, Accuracies], data: str, backbone: str, classes: int) -> str:
    """The table, best mean over exits first."""
    rows = {(label, name): runs for label, accuracies in found.items() for name, runs in accuracies.items()}
    means = {key: statistics.fmean(statistics.fmean(run) for run in runs) for key, runs in rows.items()}
    some = next(iter(rows.values()))
    exits = range(len(some[0]))
    lines = [
        f"{backbone} on {data}, {counted(len(some), 'run')} of each method; test accuracy in %, mean ± sample "
        f"standard deviation. The sum costs {classes} MACs per exit that is in it. Differences are to the first row, "
        "paired by seed, ± standard error.",
        "",
        f"| method | `exits.ensemble` | {' | '.join(f'exit {k + 1}' for k in exits)} | mean over exits | to the best |",
        "|---|---|" + "---|" * (len(exits) + 2),
    ]
    ranked = sorted(rows, key=lambda key: -means[key])
    best = [statistics.fmean(run) for run in rows[ranked[0]]]
    for label, name in ranked:
        runs = rows[label, name]
        ours = [statistics.fmean(row) for row in runs]
        columns = [*([row[k] for row in runs] for k in exits), ours]
        behind = difference(ours, best).in_points() if (label, name) != ranked[0] and len(ours) == len(best) else ""
        lines.append(f"| `{label}` | `{name}` | {' | '.join(map(_mean_and_spread, columns))} | {behind} |")
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
