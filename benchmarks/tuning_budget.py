"""Compare methods at an equal tuning budget: each has four trials, and its best on the calibration split counts.

In a table of defaults, a method may lead because its options were chosen on similar images. Here every method has the
same number of trials on the same recipe: the published strength (for `mate`, its default) and others around it.
Strength is the one option that weighs distillation against the labels, or for `joint_ce` the label weights of the
exits.

    python benchmarks/tuning_budget.py --jobs 2

Trials are selected and methods ranked by the mean over exits on the calibration split; the test split is reported
beside it. Trained like `edgemate compare`: after an interruption, the same command resumes.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

from edgemate import files
from edgemate.comparison import Comparison, MethodFigures, compare, parse_variants
from edgemate.comparison.table import markdown_rows

RECIPE = Path(__file__).parents[1] / "recipes" / "small" / "cifar100_resnet8_joint_ce.yaml"
# From weak to strong; the label without options is the method's default.
TRIALS = {
    "mate": ["mate:alpha=1", "mate:alpha=2", "mate", "mate:alpha=8"],
    "last_exit": ["last_exit:scale=1.667", "last_exit", "last_exit:scale=6.667", "last_exit:scale=13.33"],
    "one": ["one:alpha=0.5", "one", "one:alpha=2", "one:alpha=4"],
    "dml": ["dml:weight=0.5", "dml", "dml:weight=2", "dml:weight=4"],
    "eed": ["eed:logits_weight=0.25", "eed:logits_weight=0.5", "eed", "eed:logits_weight=2"],
    "byot": ["byot:alpha=0.05", "byot", "byot:alpha=0.2", "byot:alpha=0.4"],
    "loth": ["loth:balance=1.05", "loth:balance=1.1", "loth", "loth:balance=1.25"],
    "joint_ce": [
        "joint_ce",
        "joint_ce:weights=[2,2,2]",
        "joint_ce:weights=[1,1,3]",
        "joint_ce:weights=[2,2,6]",
    ],
}


def main() -> None:
    options = _options()
    labels = {method: TRIALS[method] for method in options.methods}
    variants = parse_variants(",".join(label for trials in labels.values() for label in trials))
    found = compare(options.recipe, variants, options.seeds, options.runs, overrides=options.set, jobs=options.jobs)
    chosen = {method: _best([row for row in found.methods if row.label in labels[method]]) for method in labels}
    ranked = sorted(chosen.values(), key=lambda row: -row.mean("calibration").mean)
    text = _markdown(found, labels, ranked)
    print(text)
    files.write_text(options.output.with_suffix(".md"), text)
    files.write_json(
        options.output.with_suffix(".json"),
        {
            "benchmark": "tuning_budget",
            "chosen_by": "top-1 accuracy on the calibration split, mean over exits and seeds",
            "trials": labels,
            "chosen": [
                {
                    "method": next(method for method, row in chosen.items() if row is best),
                    "label": best.label,
                    "calibration": best.mean("calibration").mean,
                    "test": best.mean().mean,
                }
                for best in ranked
            ],
            **found.to_json(),
        },
    )


def _best(rows: Sequence[MethodFigures]) -> MethodFigures:
    return max(rows, key=lambda row: row.mean("calibration").mean)


def _markdown(found: Comparison, labels: dict[str, list[str]], ranked: Sequence[MethodFigures]) -> str:
    optimization = found.recipe["optimization"]
    trials = max(len(each) for each in labels.values())
    return "\n".join(
        [
            f"# Every method's best of {trials} strengths",
            "",
            f"{found.recipe['data']['name']}, {found.images['train']:,} training images, "
            f"{found.recipe['model']['backbone']}, {optimization['epochs']} epochs; mean ± sample standard deviation "
            f"over seeds {', '.join(map(str, found.seeds))}; {found.machine['processor']}. Strengths are chosen, and "
            f"rows ranked, by the mean over exits on the {found.images['calibration']:,} images of the calibration "
            f"split; the figures are of the test split's {found.images['test']:,}.",
            "",
            *markdown_rows(found, ranked, "test"),
            "",
            f"## Against `{ranked[0].label}`, seed by seed",
            "",
            "Mean over exits on the test split, in points; ± standard error over seeds.",
            "",
            "| method | difference |",
            "|---|---|",
            *(f"| `{row.label}` | {_difference(row, ranked[0])} |" for row in ranked[1:]),
            "",
            "## All trials",
            "",
            "Mean over exits in %, from weak to strong: on the calibration split / on the test split.",
            "",
            f"| method | {' | '.join(f'trial {number}' for number in range(1, trials + 1))} |",
            "|---" * (trials + 1) + "|",
            *(f"| `{method}` | {' | '.join(_trials(found, each))} |" for method, each in labels.items()),
            "",
        ]
    )


def _difference(row: MethodFigures, first: MethodFigures) -> str:
    points = [100 * (one.test.mean - other.test.mean) for one, other in zip(row.runs, first.runs, strict=True)]
    error = f" ± {statistics.stdev(points) / len(points) ** 0.5:.2f}" if len(points) > 1 else ""
    return f"{statistics.fmean(points):+.2f}{error}"


def _trials(found: Comparison, labels: Sequence[str]) -> list[str]:
    rows = {row.label: row for row in found.methods}
    best = _best([rows[label] for label in labels])
    cells = []
    for label in labels:
        row = rows[label]
        figures = f"{100 * row.mean('calibration').mean:.2f} / {100 * row.mean().mean:.2f}"
        option = label.partition(":")[2] or "default"
        cells.append(f"{option}: {f'**{figures}**' if row is best else figures}")
    return cells


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--methods", nargs="+", choices=list(TRIALS), default=list(TRIALS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override recipe settings")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("comparisons") / "tuning_budget")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "tuning_budget")
    return parser.parse_args()


if __name__ == "__main__":
    main()
