"""What stopping early is worth against the same backbone trained plainly: one exit, one graph, no distillation.

    python benchmarks/early_exit_speedup.py runs/fashion_mnist-resnet8_mate runs/fashion_mnist-resnet8_plain

Give pairs of runs: with exits, and plain. Thresholds are chosen on the calibration split, by measured times, for at
most half a point less accuracy than the plain network has there. Then both classify the test split in ONNX Runtime, in
turn over blocks of images, one at a time and in batches of 16; every figure is of work really done or skipped.

A row whose accuracy on the test split is more than half a point below the plain network's is marked: its speed-up was
bought with more than was meant. Where the whole network with exits is already below that, it is said that stopping
early is not what costs the accuracy.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgemate import files
from edgemate.evaluation import exit_accuracy
from edgemate.exits import Request, calibrate_bundle, write_latency_table
from edgemate.exporting import ExportOptions, export_run
from edgemate.machine import machine_metadata
from edgemate.profiling.images import sample_test_split
from edgemate.runs import Run
from edgemate.runtime import AnytimeClassifier, measure_stops

MAX_DROP = 0.005
AIM = 2.0
BATCHES = (1, 16)
BLOCK = 64
WARMUP = 3


def main() -> None:
    options = _options()
    if len(options.runs) % 2:
        raise SystemExit("give pairs of runs: one with exits, and the same backbone trained plainly")
    pairs = zip(options.runs[::2], options.runs[1::2], strict=True)
    rows = [row for early, plain in pairs for row in _compare(Run.open(early), Run.open(plain), options)]
    print(
        f"{'run':<34} {'batch':>5} {'plain':>8} {'early':>8} {'points':>7} {'ms plain':>9} {'early':>9} {'speed-up':>9}"
    )
    for row in rows:
        print(
            f"{row['run']:<34} {row['batch']:>5} {row['plain_accuracy']:>8.2%} {row['accuracy']:>8.2%} "
            f"{row['points']:>+7.2f} {row['plain_ms']:>9.3f} {row['ms']:>9.3f} {row['speed_up']:>8.2f} ×"
            f"{'' if row['accuracy_held'] else ' !'}"
        )
    print(f"ms: of all images, per image; aim: {AIM:g} × at batch 1, at most {100 * MAX_DROP:g} points less")
    for remark in remarks(rows):
        print(remark)
    files.write_json(
        options.output,
        {
            "benchmark": "early_exit_speedup",
            "threads": options.threads,
            "most_points_lost": 100 * MAX_DROP,
            "aim": AIM,
            "machine": machine_metadata(),
            "results": rows,
        },
    )


def remarks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What must be said beside the speed-ups: which were bought with too much accuracy, and where none could help."""
    found = [
        f"! {row['run']}, batch {row['batch']}: {-row['points']:.2f} points below the plain network, "
        f"not {100 * MAX_DROP:g} at most"
        for row in rows
        if not row["accuracy_held"]
    ]
    for name, points in {(row["run"], row["full_points"]): None for row in rows}:
        if not held(points):
            found.append(
                f"{name}: the whole network with exits is already {-points:.2f} points below the plain one, so "
                "stopping early is not what costs them"
            )
    return found


def held(points: float) -> bool:
    """Whether an accuracy so many points over the plain network's is as high as was meant."""
    return points >= -100 * MAX_DROP - 1e-9


def _compare(run: Run, plain: Run, options: argparse.Namespace) -> list[dict[str, Any]]:
    images, labels = sample_test_split(run, options.images)
    plain_images, plain_labels = sample_test_split(plain, options.images)
    if not np.array_equal(labels, plain_labels):
        raise SystemExit(f"{run.name} and {plain.name} were not tested on the same images")
    with tempfile.TemporaryDirectory() as folder:
        bundle = export_run(run, Path(folder) / "early").bundle
        reference = export_run(plain, Path(folder) / "plain", options=ExportOptions(layouts=("prefixes",))).bundle
        with AnytimeClassifier.load(bundle.path, threads=options.threads) as classifier:
            table = measure_stops(classifier, images[:200], device="here", repeats=options.repeats)
        write_latency_table(bundle, table)
        full, aimed_at = (float(exit_accuracy(*of.read_logits("calibration"))[-1]) for of in (run, plain))
        drop = max(full - (aimed_at - MAX_DROP), 0.0)
        calibrate_bundle(bundle.path, device="here", requests=(Request("chosen", max_drop=drop),))
        with (
            AnytimeClassifier.load(bundle.path, threads=options.threads) as early,
            AnytimeClassifier.load(reference.path, threads=options.threads, layout="prefixes") as whole,
        ):
            rows = [_alternate(early, whole, images, plain_images, labels, batch) for batch in BATCHES]
            answers = early.classify(images, None, batch_size=BLOCK)
            full_accuracy = float(np.mean([answer.index for answer in answers] == labels))
    metadata = {"run": run.name, "plain_run": plain.name, "max_drop": drop, "images": len(labels)}
    return [
        {
            **metadata,
            **row,
            "accuracy_held": held(row["points"]),
            "full_accuracy": full_accuracy,
            "full_points": 100 * (full_accuracy - row["plain_accuracy"]),
        }
        for row in rows
    ]


def _alternate(
    early: AnytimeClassifier,
    whole: AnytimeClassifier,
    images: np.ndarray,
    plain_images: np.ndarray,
    labels: np.ndarray,
    batch: int,
) -> dict[str, Any]:
    ways = {"early": (early, "chosen", images), "plain": (whole, None, plain_images)}
    seconds = dict.fromkeys(ways, 0.0)
    named: dict[str, list[int]] = {way: [] for way in ways}
    early.reset_statistics()
    for start in range(0, len(labels), BLOCK):
        for way, (classifier, policy, images) in ways.items():
            block = images[start : start + BLOCK]
            for _ in range(WARMUP):  # waking its threads and filling the caches is not what is compared
                classifier.classify(block[:batch], policy, batch_size=batch)
            for row in range(0, len(block), batch):
                started = time.perf_counter()
                answers = classifier.classify(block[row : row + batch], policy, batch_size=batch)
                seconds[way] += time.perf_counter() - started
                named[way] += [answer.index for answer in answers]
    accuracy = {way: float(np.mean(np.array(found) == labels)) for way, found in named.items()}
    return {
        "batch": batch,
        "accuracy": accuracy["early"],
        "plain_accuracy": accuracy["plain"],
        "points": 100 * (accuracy["early"] - accuracy["plain"]),
        "ms": 1e3 * seconds["early"] / len(labels),
        "plain_ms": 1e3 * seconds["plain"] / len(labels),
        "speed_up": seconds["plain"] / seconds["early"],
        "fractions": list(early.statistics().fractions),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "early_exit_speedup.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
