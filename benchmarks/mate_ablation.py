"""Ablate MATE: change its options one at a time, ranked by the mean over exits on the calibration split.

Two rows of joint cross-entropy are controls. The teachers' cross-entropy increases the weight of the labels, most of
all at the last exit; so the controls are joint CE with all weights doubled, and with K times the weight at the last
exit.

    python benchmarks/mate_ablation.py --jobs 2

Trains every variant with every seed on the small CIFAR-100 recipe, like `edgemate compare`: after an interruption,
the same command resumes. The test split is reported, but not used for ranking.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

from edgemate import files
from edgemate.comparison import Comparison, MethodFigures, Variant, compare, parse_variants
from edgemate.comparison.table import markdown_rows
from edgemate.config.loading import load_recipe, read_tree
from edgemate.models import build_model

RECIPE = Path(__file__).parents[1] / "recipes" / "small" / "cifar100_resnet8_joint_ce.yaml"
# Values equal to the default are removed later. K is the number of exits.
OPTIONS = {
    "moves_exits": ["false"],
    "alpha": ["1", "2", "8"],
    "proximity": ["0"],
    "start": ["2"],
    "reach": ["1"],
    "attention": ["true"],
    "primary": ["1/K", "1"],
    "temperature": ["4"],
    "teachers": ["1"],
    "ramp_up": ["0.3"],
}


def main() -> None:
    options = _options()
    chosen = parse_variants(options.variants) if options.variants else _variants(options.recipe, options.also)
    found = compare(options.recipe, chosen, options.seeds, options.runs, overrides=options.set, jobs=options.jobs)
    ranked = sorted(found.methods, key=lambda method: -method.mean("calibration").mean)
    text = _markdown(found, ranked)
    print(text)
    results = options.output
    files.write_text(results.with_suffix(".md"), text)
    files.write_json(
        results.with_suffix(".json"),
        {
            "benchmark": "mate_ablation",
            "ranked_by": "top-1 accuracy on the calibration split, mean over exits and seeds",
            "ranking": [
                {"label": method.label, "calibration": method.mean("calibration").mean, "test": method.mean().mean}
                for method in ranked
            ],
            **found.to_json(),
        },
    )


def _variants(recipe: Path, also: str) -> list[Variant]:
    """`joint_ce` and its controls, `mate`, and `mate` with one option changed; without duplicates."""
    exits = _exits(recipe)
    doubled, last = [2] * exits, [1] * (exits - 1) + [exits]
    labels = ["joint_ce", *(f"joint_ce:weights={weights}".replace(" ", "") for weights in (doubled, last)), "mate"]
    for option, values in OPTIONS.items():
        for value in values:
            number = f"{1 / exits:.4g}" if value == "1/K" else value
            labels.append(f"mate:{option}={number}")
    labels.append("mate:moves_exits=false;alpha=1")
    if also:
        labels.append(also)
    tree = read_tree(recipe)
    kept: dict[str, Variant] = {}
    for variant in parse_variants(",".join(labels)):
        kept.setdefault(variant.recipe(tree, 0).model_dump_json(), variant)
    return list(kept.values())


def _exits(recipe: Path) -> int:
    checked = load_recipe(recipe)
    return build_model(checked.model, checked.exits, channels=3, classes=2).exits


def _markdown(found: Comparison, ranked: Sequence[MethodFigures]) -> str:
    seeds = ", ".join(map(str, found.seeds))
    optimization = found.recipe["optimization"]
    return "\n".join(
        [
            "# MATE's options, one at a time",
            "",
            f"{found.recipe['data']['name']}, {found.images['train']:,} training images, "
            f"{found.recipe['model']['backbone']}, {optimization['epochs']} epochs; "
            f"mean ± sample standard deviation over seeds {seeds}; {found.machine['processor']}. "
            "Both tables are ranked by the mean over exits on the calibration split.",
            "",
            f"## Calibration split, {found.images['calibration']:,} images",
            "",
            *markdown_rows(found, ranked, "calibration"),
            "",
            "## Against `mate`, seed by seed",
            "",
            "Mean over exits on the calibration split, in points; ± standard error over seeds. A difference within "
            "two standard errors is not significant.",
            "",
            *_against_mate(ranked),
            "",
            f"## Test split, {found.images['test']:,} images",
            "",
            *markdown_rows(found, ranked, "test"),
            "",
        ]
    )


def _against_mate(ranked: Sequence[MethodFigures]) -> list[str]:
    lines = ["| method | difference |", "|---|---|"]
    base = next((method for method in ranked if method.label == "mate"), None)
    for method in ranked:
        if base is None or method is base:
            continue
        pairs = zip(method.runs, base.runs, strict=True)
        points = [100 * (one.calibration.mean - other.calibration.mean) for one, other in pairs]
        error = f" ± {statistics.stdev(points) / len(points) ** 0.5:.2f}" if len(points) > 1 else ""
        lines.append(f"| `{method.label}` | {statistics.fmean(points):+.2f}{error} |")
    return lines


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", default="", help="only these variants, as for `edgemate compare --methods`")
    parser.add_argument("--also", default="", help="additional variants, as for `edgemate compare --methods`")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override recipe settings")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("comparisons") / "mate_ablation")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "mate_ablation")
    return parser.parse_args()


if __name__ == "__main__":
    main()
