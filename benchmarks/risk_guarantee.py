"""Measure how often the guarantee of `edgemate calibrate --risk` is violated on real logits, and its cost in MACs.

    python benchmarks/risk_guarantee.py runs/fashion_mnist-resnet8_mate

A run's calibration and test logits are pooled and split at random many times. One part, of the size of the
calibration split, chooses the threshold, and the loss of accuracy is measured on the other. A guarantee with δ may be
violated in a fraction δ of the random splits; three standard errors of 200 splits are allowed on top. Mean MACs are
shown beside those of the search without a guarantee, which limits the loss only on the images it chose the thresholds
on.

The proof is about independent draws, and about the mean loss over the distribution. Here the images are drawn without
replacement from a finite pool, and the loss is measured on the rest. That is the stricter test: with n images to
choose on and m to test on, their losses differ by chance with a variance of σ²(1/n + 1/m) instead of σ²/n, so a valid
guarantee appears violated somewhat more often than it is.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np

from edgemate import files
from edgemate.calibration import Goal, StoredSplit, certify, simulate
from edgemate.calibration.solvers.direct import direct
from edgemate.evaluation import trained_model
from edgemate.machine import machine_metadata
from edgemate.models import count_costs
from edgemate.runs import Run

RISKS = (0.005, 0.01, 0.02)


def main() -> None:
    options = _options()
    run = Run.open(options.run)
    macs = [
        float(cost.chained_macs) for cost in count_costs(trained_model(run), run.read_golden().images.shape[1:]).exits
    ]
    calibration, test = run.read_logits("calibration"), run.read_logits("test")
    pool = StoredSplit(
        np.concatenate([calibration.logits, test.logits]), np.concatenate([calibration.labels, test.labels]), macs
    )
    rows = [_measure(pool, len(calibration.labels), risk, options.delta, options.splits) for risk in RISKS]
    allowed = options.delta + 3 * math.sqrt(options.delta * (1 - options.delta) / options.splits)
    print(
        f"{run.name}: {options.splits} random splits into {len(calibration.labels):,} and {len(test.labels):,} images, "
        f"δ = {options.delta:g}; violated at most {allowed:.1%}"
    )
    print(
        f"{'points':>7} {'violated':>8} {'mean loss':>10} {'MACs':>8} | "
        f"{'unguarded: violated':>18} {'mean loss':>10} {'MACs':>8}"
    )
    for row in rows:
        g, u = row["guaranteed"], row["unguarded"]
        print(
            f"{100 * row['risk']:>7g} {g['violated']:>8.1%} {100 * g['mean_loss']:>10.2f} {g['macs_of_full']:>8.1%} | "
            f"{u['violated']:>18.1%} {100 * u['mean_loss']:>10.2f} {u['macs_of_full']:>8.1%}"
        )
    held = all(row["guaranteed"]["violated"] <= allowed for row in rows)
    print(f"the guarantee {'held' if held else 'DID NOT HOLD'}; MACs: mean fraction of the whole network's")
    print("certified for the mean loss over independent draws; tested, more strictly, on the finite rest")
    files.write_json(
        options.output,
        {
            "benchmark": "risk_guarantee",
            "run": run.name,
            "splits": options.splits,
            "delta": options.delta,
            "allowed": allowed,
            "held": held,
            "calibration_images": len(calibration.labels),
            "test_images": len(test.labels),
            "machine": machine_metadata(),
            "results": rows,
        },
    )


def _measure(pool: StoredSplit, images: int, risk: float, delta: float, splits: int) -> dict[str, Any]:
    random = np.random.default_rng(0)
    losses: dict[str, list[float]] = {"guaranteed": [], "unguarded": []}
    costs: dict[str, list[float]] = {"guaranteed": [], "unguarded": []}
    for _ in range(splits):
        order = random.permutation(pool.images)
        chosen_on, tested_on = pool.part(order[:images]), pool.part(order[images:])
        full = float(tested_on.correct[:, -1].mean())
        policies = {
            "guaranteed": certify(chosen_on, risk, delta).policy,
            "unguarded": direct(chosen_on, Goal(max_drop=risk)),
        }
        for name, policy in policies.items():
            found = simulate(tested_on.logits, tested_on.labels, pool.costs, policy)
            losses[name].append(full - found.accuracy)
            costs[name].append(found.mean_cost / pool.costs[-1])
    return {
        "risk": risk,
        **{
            name: {
                "violated": float(np.mean(np.array(losses[name]) > risk + 1e-12)),
                "mean_loss": float(np.mean(losses[name])),
                "largest_loss": float(np.max(losses[name])),
                "macs_of_full": float(np.mean(costs[name])),
            }
            for name in losses
        },
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/fashion_mnist-resnet8_mate"))
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--delta", type=float, default=0.05)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "risk_guarantee.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
