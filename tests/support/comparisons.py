"""Made-up results of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from edgemate.comparison import Comparison, MethodFigures, RunFigures
from edgemate.comparison.result import SplitFigures


def method(
    label: str, accuracies: Sequence[Sequence[float]], ece: float = 0.05, numerics: str = "fp32, contiguous"
) -> MethodFigures:
    """A row whose run with seed s has the accuracies of that entry, one per exit, on both splits."""
    runs = []
    for seed, exits in enumerate(accuracies):
        split = SplitFigures(tuple(exits), sum(exits) / len(exits), max(exits), (ece,) * len(exits), ece)
        runs.append(RunFigures(seed, f"{label}-seed{seed}", split, split, 60.0, numerics))
    macs = tuple(1_000_000 * k for k in range(1, len(accuracies[0]) + 1))
    return MethodFigures(label, {"method": label, "options": {}}, macs, macs, tuple(runs))


def comparison(*methods: MethodFigures) -> Comparison:
    """A comparison of these rows on the digits."""
    exits, seeds = len(methods[0].macs), len(methods[0].runs)
    return Comparison(
        name="tiny",
        recipe={
            "data": {"name": "digits"},
            "model": {"backbone": "resnet8"},
            "exits": {"head": "bottleneck"},
            "optimization": {"epochs": 2, "batch_size": 64},
            "training": {"precision": "fp32"},
        },
        machine={"processor": "test processor"},
        jobs=2,
        threads=1,
        seeds=tuple(range(seeds)),
        cuts=tuple(f"stage{k}" for k in range(1, exits + 1)),
        images={"train": 100, "calibration": 20, "test": 50},
        methods=methods,
    )
