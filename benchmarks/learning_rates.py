"""Does the ranking of methods depend on the learning rate? Every method at several rates, on one recipe.

Published losses differ in size, and under plain SGD that acts as a learning rate. So every loss is divided by what the
labels weigh in it (`distillation.scale: labels`), and each method is trained at every learning rate.

    python benchmarks/learning_rates.py --jobs 2

Writes a table, a plot of the mean over exits by learning rate, and the figures. Trained like `edgemate compare`: after
an interruption, the same command resumes.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter

from edgemate import files
from edgemate.comparison import Comparison, MethodFigures, compare, parse_variants
from edgemate.core.accuracy_axis import accuracy_limits
from edgemate.wording import counted

RECIPE = Path(__file__).parents[1] / "recipes" / "small" / "cifar100_resnet8_joint_ce.yaml"
RATES = [0.05, 0.1, 0.2, 0.4]
METHODS = ["mate", "last_exit", "joint_ce", "one", "loth"]


def main() -> None:
    options = _options()
    shared = ["distillation.scale=labels", *options.set]
    found = {
        rate: compare(
            options.recipe,
            parse_variants(",".join(options.methods)),
            options.seeds,
            options.runs / f"lr{rate:g}",
            overrides=[*shared, f"optimization.lr={rate}"],
            jobs=options.jobs,
        )
        for rate in options.rates
    }
    text = _markdown(found, options.methods)
    print(text)
    files.write_text(options.output.with_suffix(".md"), text)
    _plot(found, options.methods, options.output.with_suffix(".png"))
    files.write_json(
        options.output.with_suffix(".json"),
        {
            "benchmark": "learning_rates",
            "overrides": shared,
            "rates": {f"{rate:g}": comparison.to_json() for rate, comparison in found.items()},
        },
    )


def _row(comparison: Comparison, label: str) -> MethodFigures:
    return next(row for row in comparison.methods if row.label == label)


def _markdown(found: dict[float, Comparison], labels: Sequence[str]) -> str:
    first = next(iter(found.values()))
    recipe = first.recipe
    best = {rate: max(_row(one, label).mean().mean for label in labels) for rate, one in found.items()}
    lines = [
        "# Methods by learning rate",
        "",
        f"{recipe['data']['name']}, {first.images['train']:,} training images, {recipe['model']['backbone']}, "
        f"{counted(recipe['optimization']['epochs'], 'epoch')}; every loss is divided by what the labels weigh in it; "
        f"seeds {', '.join(map(str, first.seeds))}; {first.machine['processor']}. Top-1 on the "
        f"{first.images['test']:,} test images in %: mean over exits ± standard deviation over seeds, and exit 1.",
        "",
        f"| method | {' | '.join(f'lr {rate:g}' for rate in found)} | rank by rate |",
        "|---" * (len(found) + 2) + "|",
    ]
    for label in labels:
        cells, ranks = [], []
        for rate, comparison in found.items():
            row = _row(comparison, label)
            mean, exit1 = row.mean(), row.exit(1)
            text = f"{100 * mean.mean:.2f}" + (f" ± {100 * mean.deviation:.2f}" if mean.deviation is not None else "")
            cells.append(f"{f'**{text}**' if mean.mean == best[rate] else text}, {100 * exit1.mean:.2f}")
            ranks.append(1 + sum(_row(comparison, other).mean().mean > mean.mean for other in labels))
        lines.append(f"| `{label}` | {' | '.join(cells)} | {', '.join(map(str, ranks))} |")
    return "\n".join([*lines, ""])


def _plot(found: dict[float, Comparison], labels: Sequence[str], path: Path) -> None:
    figure = Figure(figsize=(7, 4.5), dpi=150, layout="constrained")
    axes = figure.subplots()
    ends: list[float] = []
    for label in labels:
        figures = [_row(comparison, label).mean() for comparison in found.values()]
        means, deviations = [one.mean for one in figures], [one.deviation or 0.0 for one in figures]
        axes.errorbar(list(found), means, deviations, marker="o", capsize=3, label=label)
        ends += [mean + sign * deviation for sign in (-1, 1) for mean, deviation in zip(means, deviations, strict=True)]
    axes.set_xscale("log")
    axes.set_xticks(list(found), [f"{rate:g}" for rate in found])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("learning rate; every loss divided by what the labels weigh in it")
    axes.set_ylabel("top-1 accuracy, mean over exits")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylim(accuracy_limits(min(max(end, 0.0), 1.0) for end in ends))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    files.write_bytes(path, png.getvalue())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override recipe settings")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("comparisons") / "learning_rates")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "learning_rates")
    return parser.parse_args()


if __name__ == "__main__":
    main()
