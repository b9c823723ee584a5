"""Does the ranking of methods depend on the learning rate? Every method at several rates, on one recipe.

Published losses differ in size, and under plain SGD that acts as a learning rate. So every loss is divided by what the
labels weigh in it (`distillation.scale: labels`), and each method is trained at every learning rate.

    python benchmarks/learning_rates.py --jobs 2

Writes a table, a plot of the mean over exits by learning rate, and the figures. Trained like `edgemate compare`: after
an interruption, the same command resumes. `--add RESULT.json` adds the methods or seeds of an earlier result.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comparable import differing_section
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter

from edgemate import files
from edgemate.comparison import compare, parse_variants
from edgemate.core.accuracy_axis import accuracy_limits
from edgemate.errors import EdgemateError, UsageError
from edgemate.wording import counted

RECIPE = Path(__file__).parents[1] / "recipes" / "small" / "cifar100_resnet8_joint_ce.yaml"
RATES = [0.05, 0.1, 0.2, 0.4]
METHODS = ["mate", "last_exit", "joint_ce", "one", "loth"]


def main() -> None:
    options = _options()
    shared = ["distillation.scale=labels", *options.set]
    try:
        earlier = [_read(path, shared, options.rates) for path in options.add]
        comparisons: dict[float, list[dict[str, Any]]] = {}
        for rate in options.rates:
            compared = compare(
                options.recipe,
                parse_variants(",".join(options.methods)),
                options.seeds,
                options.runs / f"lr{rate:g}",
                overrides=[*shared, f"optimization.lr={rate}"],
                jobs=options.jobs,
            )
            added = [comparison for found in earlier for comparison in found[f"{rate:g}"]]
            comparisons[rate] = [*added, compared.to_json()]
        found = {rate: joined(trees) for rate, trees in comparisons.items()}
    except EdgemateError as error:
        raise SystemExit(str(error)) from error
    text = _markdown(found, comparisons[options.rates[0]])
    print(text)
    files.write_text(options.output.with_suffix(".md"), text)
    _plot(found, options.output.with_suffix(".png"))
    files.write_json(
        options.output.with_suffix(".json"),
        {
            "benchmark": "learning_rates",
            "overrides": shared,
            "rates": {f"{rate:g}": trees for rate, trees in comparisons.items()},
        },
    )


@dataclass(frozen=True)
class Row:
    """A method's accuracies at one learning rate, fractions, by seed."""

    means: tuple[float, ...]
    first: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over exits and seeds."""
        return statistics.fmean(self.means)

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation over seeds of the mean over exits; None of one seed."""
        return statistics.stdev(self.means) if len(self.means) > 1 else None


def joined(comparisons: Sequence[dict[str, Any]]) -> dict[str, Row]:
    """The rows of comparisons at one learning rate, by label; a method's seeds come in ascending order.

    Raises:
        UsageError: their recipes differ, one has a method's seed twice, or a method lacks a seed that another has.
    """
    runs: dict[str, dict[int, dict[str, Any]]] = {}
    for comparison in comparisons:
        if section := differing_section(comparisons[0]["recipe"], comparison["recipe"]):
            raise UsageError(f"section {section!r} of the recipe differs between the comparisons")
        for method in comparison["methods"]:
            seeds = runs.setdefault(method["label"], {})
            for run in method["runs"]:
                if run["seed"] in seeds:
                    raise UsageError(f"{method['label']}: seed {run['seed']} is in two of the comparisons")
                seeds[run["seed"]] = run["test"]
    wanted = {seed for seeds in runs.values() for seed in seeds}
    for label, seeds in runs.items():
        if lacking := wanted - seeds.keys():
            raise UsageError(f"{label}: lacks seed {', '.join(map(str, sorted(lacking)))}, which another method has")
    return {
        label: Row(
            tuple(statistics.fmean(test["exits"]) for _, test in sorted(seeds.items())),
            tuple(test["exits"][0] for _, test in sorted(seeds.items())),
        )
        for label, seeds in runs.items()
    }


def _read(path: Path, overrides: Sequence[str], rates: Sequence[float]) -> dict[str, list[dict[str, Any]]]:
    """Learning rate → comparisons of an earlier result."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error
    if (
        not isinstance(tree, dict)
        or tree.get("benchmark") != "learning_rates"
        or not {"overrides", "rates"} <= tree.keys()
    ):
        raise UsageError(f"{path}: is not as this benchmark writes it")
    if not set(map("{:g}".format, rates)) == tree["rates"].keys():
        raise UsageError(f"{path}: is of the rates {', '.join(tree['rates'])}; give the same ones")
    if tree["overrides"] != list(overrides):
        raise UsageError(f"{path}: was trained with {', '.join(tree['overrides'])}, not with {', '.join(overrides)}")
    found: dict[str, list[dict[str, Any]]] = tree["rates"]
    return found


def _markdown(found: dict[float, dict[str, Row]], comparisons: Sequence[dict[str, Any]]) -> str:
    first = comparisons[0]
    recipe = first["recipe"]
    seeds = sorted({seed for comparison in comparisons for seed in comparison["seeds"]})
    processors = sorted({comparison["machine"]["processor"] for comparison in comparisons})
    labels = list(next(iter(found.values())))
    lines = [
        "# Methods by learning rate",
        "",
        f"{recipe['data']['name']}, {first['images']['train']:,} training images, {recipe['model']['backbone']}, "
        f"{counted(recipe['optimization']['epochs'], 'epoch')}; every loss is divided by what the labels weigh in it; "
        f"seeds {', '.join(map(str, seeds))}; {', '.join(processors)}. Top-1 on the {first['images']['test']:,} test "
        "images in %: mean over exits ± standard deviation over seeds, and exit 1.",
        "",
        f"| method | {' | '.join(f'lr {rate:g}' for rate in found)} | rank by rate |",
        "|---" * (len(found) + 2) + "|",
    ]
    for label in labels:
        cells, ranks = [], []
        for rows in found.values():
            row = rows[label]
            text = f"{100 * row.mean:.2f}" + (f" ± {100 * row.deviation:.2f}" if row.deviation is not None else "")
            rank = 1 + sum(other.mean > row.mean for other in rows.values())
            cells.append(f"{f'**{text}**' if rank == 1 else text}, {100 * statistics.fmean(row.first):.2f}")
            ranks.append(rank)
        lines.append(f"| `{label}` | {' | '.join(cells)} | {', '.join(map(str, ranks))} |")
    return "\n".join([*lines, ""])


def _plot(found: dict[float, dict[str, Row]], path: Path) -> None:
    figure = Figure(figsize=(7, 4.5), dpi=150, layout="constrained")
    axes = figure.subplots()
    ends: list[float] = []
    for label in next(iter(found.values())):
        rows = [of[label] for of in found.values()]
        means, deviations = [row.mean for row in rows], [row.deviation or 0.0 for row in rows]
        spread = deviations if any(deviations) else None  # of one seed
        axes.errorbar(list(found), means, spread, marker="o", capsize=3, label=label)
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
    parser.add_argument(
        "--add", type=Path, action="append", default=[], metavar="RESULT.json", help="earlier result; repeatable"
    )
    parser.add_argument("--runs", type=Path, default=Path("comparisons") / "learning_rates")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "learning_rates")
    return parser.parse_args()


if __name__ == "__main__":
    main()
