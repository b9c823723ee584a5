"""One table from comparisons that were trained apart: each seed, or some methods, on a day or machine of its own.

    python benchmarks/seeds_table.py FIRST.json SECOND.json --output benchmarks/results/scratch_cifar100.md

Each is the `comparison.json` of an `edgemate compare` on the same recipe, with its `gains.json` beside it:
`gains.json` for `comparison.json`, `NAME_gains.json` for `NAME.json`. The table has the methods with all seeds, best
mean over exits first. Differences are to the best of the column before, paired by seed, ± standard error.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comparable import differing_section

from edgemate import files
from edgemate.comparison.paired import difference
from edgemate.errors import EdgemateError, UsageError
from edgemate.wording import counted


@dataclass(frozen=True)
class Row:
    """A method's figures, by seed: fractions, but for the speed-up."""

    label: str
    exits: tuple[tuple[float, ...], ...]
    budgeted: tuple[float, ...]
    speedup: tuple[float, ...]
    lost: tuple[float, ...]
    seconds: tuple[float, ...]

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean over exits."""
        return tuple(statistics.fmean(run) for run in self.exits)

    def exit(self, k: int) -> tuple[float, ...]:
        """Accuracy of exit k, from 0."""
        return tuple(run[k] for run in self.exits)


def main() -> None:
    options = _options()
    try:
        text = table([_read(path) for path in options.comparisons])
    except EdgemateError as error:
        raise SystemExit(str(error)) from error
    print(text)
    if options.output is not None:
        files.write_text(options.output, text)


def table(comparisons: Sequence[tuple[str, dict[str, Any], dict[str, Any]]]) -> str:
    """The table, under a line per comparison.

    Args:
        comparisons: the name, `comparison.json` and `gains.json` of each.

    Raises:
        UsageError: they are of different recipes, a method has a seed twice, or none has all seeds.
    """
    (first, tree, _), *others = comparisons
    for name, other, _ in others:
        for key in ("cuts", "images"):
            if other[key] != tree[key]:
                raise UsageError(f"{name}: has other {key} than {first}")
        if section := differing_section(tree["recipe"], other["recipe"]):
            raise UsageError(f"{name}: is of a recipe with another section {section!r} than {first}")
    seeds = sorted({seed for _, comparison, _ in comparisons for seed in comparison["seeds"]})
    rows = _rows(comparisons, seeds)
    if not rows:
        raise UsageError(f"no method has all of the seeds {', '.join(map(str, seeds))}")
    return "\n".join([*_head(comparisons, seeds), "", *_body(rows, len(tree["cuts"]), len(seeds)), ""])


def _rows(comparisons: Sequence[tuple[str, dict[str, Any], dict[str, Any]]], seeds: Sequence[int]) -> list[Row]:
    found: dict[str, dict[int, tuple[dict[str, Any], dict[str, Any]]]] = {}
    for name, comparison, gained in comparisons:
        gains = {method["label"]: method["runs"] for method in gained["methods"]}
        for method in comparison["methods"]:
            label = method["label"]
            of = found.setdefault(label, {})
            for seed, run, gain in zip(comparison["seeds"], method["runs"], gains[label], strict=True):
                if seed in of:
                    raise UsageError(f"{name}: {label} has seed {seed} in another of the comparisons too")
                of[seed] = run, gain
    rows = []
    for label, of in found.items():
        if of.keys() < set(seeds):
            continue
        runs, gained_runs = zip(*(of[seed] for seed in seeds), strict=True)
        rows.append(
            Row(
                label,
                tuple(tuple(run["test"]["exits"]) for run in runs),
                tuple(gain["budgeted"] for gain in gained_runs),
                tuple(gain["speedup"] for gain in gained_runs),
                tuple(gain["lost"] for gain in gained_runs),
                tuple(run["train_seconds"] for run in runs),
            )
        )
    return sorted(rows, key=lambda row: -statistics.fmean(row.mean))


def _head(comparisons: Sequence[tuple[str, dict[str, Any], dict[str, Any]]], seeds: Sequence[int]) -> list[str]:
    recipe, images = comparisons[0][1]["recipe"], comparisons[0][1]["images"]
    optimization = recipe["optimization"]
    spread = "mean ± sample standard deviation over seeds" if len(seeds) > 1 else "seed"
    paired = ", paired by seed, ± standard error" if len(seeds) > 1 else ""
    lines = [
        f"{recipe['data']['name']}, {images['train']:,} training images; {recipe['model']['backbone']} with "
        f"{recipe['exits']['head']} heads, {optimization['epochs']} epochs, learning rate {optimization['lr']:g}.",
        f"Top-1 accuracy on {images['test']:,} test images in %, {spread} {', '.join(map(str, seeds))}. "
        f"Differences are to the best of the column before{paired}.",
        "Budgeted: mean over 13 budgets, with thresholds from the calibration split. Speed-up: MACs of the last exit "
        "over mean MACs, with thresholds for half a point less on the calibration split, and the points lost on the "
        "test images.",
    ]
    for _, comparison, _ in comparisons:
        numerics = sorted({run["numerics"] for method in comparison["methods"] for run in method["runs"]})
        own = comparison["seeds"]
        apart = any(other is not comparison and set(own) & set(other["seeds"]) for _, other, _ in comparisons)
        methods = ", ".join(f"`{method['label']}`" for method in comparison["methods"])
        lines.append(
            f"{'Seeds' if len(own) > 1 else 'Seed'} {', '.join(map(str, own))}{f' of {methods}' if apart else ''}: "
            f"{comparison['machine']['processor']}, "
            f"{comparison['jobs']} at a time with {counted(comparison['threads'], 'thread')} each, "
            f"{'; '.join(numerics)}."
        )
    return lines


def _body(rows: Sequence[Row], exits: int, seeds: int) -> list[str]:
    columns: list[tuple[str, Callable[[Row], tuple[float, ...]], bool]] = [
        *((f"exit {k + 1}", lambda row, k=k: row.exit(k), k == 0) for k in range(exits)),
        ("mean", lambda row: row.mean, True),
        ("budgeted", lambda row: row.budgeted, True),
    ]
    names = [cell for name, _, compared in columns for cell in ([name, "to the best"] if compared else [name])]
    lines = [f"| method | {' | '.join(names)} | speed-up, points lost | s |", "|---" * (len(names) + 3) + "|"]
    best = {name: _best(rows, of) for name, of, _ in columns}
    for row in rows:
        cells = []
        for name, of, compared in columns:
            text, leads = _percent(of(row)), row is best[name]
            cells.append(f"**{text}**" if leads else text)
            if compared:
                cells.append("" if leads else difference(of(row), of(best[name])).in_points())
        speed, lost = statistics.fmean(row.speedup), 100 * statistics.fmean(row.lost)
        cells += [f"{speed:.2f} ×, {lost:.2f}".replace("-", "−"), f"{statistics.fmean(row.seconds):.0f}"]
        lines.append(f"| `{row.label}` | {' | '.join(cells)} |")
    return lines


def _best(rows: Sequence[Row], of: Callable[[Row], tuple[float, ...]]) -> Row:
    return max(rows, key=lambda row: statistics.fmean(of(row)))


def _percent(values: Sequence[float]) -> str:
    mean = f"{100 * statistics.fmean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * statistics.stdev(values):.2f}"


def _read(path: Path) -> tuple[str, dict[str, Any], dict[str, Any]]:
    beside = path.with_name("gains.json" if path.name == "comparison.json" else f"{path.stem}_gains.json")
    found = []
    for file in (path, beside):
        try:
            found.append(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise UsageError(f"{file}: cannot be read: {error}") from error
    needed = ({"recipe", "cuts", "images", "seeds", "machine", "jobs", "threads", "methods"}, {"methods"})
    for file, tree, keys in zip((path, beside), found, needed, strict=True):
        if not isinstance(tree, dict) or not keys <= tree.keys():
            raise UsageError(f"{file}: is not as edgemate compare writes it")
    return str(path), found[0], found[1]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparisons", type=Path, nargs="+", metavar="COMPARISON.json")
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
