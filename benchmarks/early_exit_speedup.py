"""Measure the speed-up of early exit over the same backbone trained plainly: one exit, one graph, no distillation.

    python benchmarks/early_exit_speedup.py runs/fashion_mnist-resnet8_mate runs/fashion_mnist-resnet8_plain

Give pairs of runs: with exits, and plain; a run beside itself is compared with its own last exit as one graph.
Thresholds are calibrated on the calibration split with measured times, for at most half a point less accuracy than the
plain network there (`--calibrated-drop` sets another limit). With `--halves` they are calibrated on one half of the
test split for the images of the other half, and the other way round: the calibration split is a part of the training
images, which pretrained weights may have seen, and a network is surer of what it has seen.

Then both classify the test split in ONNX Runtime, in turn over blocks of images, one at a time and in batches of 16.
Every figure is measured, with the work really skipped. A table per run has accuracy, MACs and time of each exit, and
the fraction of the images that stop there.

A row whose accuracy on the test split is more than half a point below the plain network's is marked. If the whole
network with exits is already below that, a remark says that early exit is not the cause.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgemate import files
from edgemate.bundle import Bundle
from edgemate.calibration import CalibrationOptions, Request
from edgemate.calibration.calibrator import calibrate
from edgemate.calibration.operating_points import write_operating_points
from edgemate.core.scoring import exit_accuracy
from edgemate.data import stratified_sample
from edgemate.exporting import ExportOptions, export_run
from edgemate.latency_tables import read_latency_table, write_latency_table
from edgemate.machine import machine_metadata
from edgemate.profiling.sampled_images import sample_test_split
from edgemate.runs import Run, SplitLogits
from edgemate.runtime import AnytimeClassifier, measure_stops
from edgemate.timing import time_in_turns

MAX_DROP = 0.005
TARGET = 2.0
BATCHES = (1, 16)
BLOCK = 64
WARMUP = 3


def main() -> None:
    options = _options()
    if len(options.runs) % 2:
        raise SystemExit("RUN: give pairs of runs, one with exits and one of the same backbone trained plainly")
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
    print(f"ms: mean per image; target: {TARGET:g} × at batch 1, at most {100 * MAX_DROP:g} points less")
    for row in rows:
        if row["batch"] == 1:
            print(f"\n{row['run']}, batch 1")
            print(f"{'exit':<24} {'accuracy':>8} {'MACs, M':>8} {'ms':>8} {'stop here':>9}")
            for exit in row["exits"]:
                print(
                    f"{exit['name']:<24} {exit['accuracy']:>8.2%} {exit['chained_macs'] / 1e6:>8.1f} "
                    f"{exit['ms']:>8.3f} {exit['fraction']:>9.1%}"
                )
    for remark in remarks(rows):
        print(remark)
    files.write_json(
        options.output,
        {
            "benchmark": "early_exit_speedup",
            "threads": options.threads,
            "solver": options.solver,
            "calibrated_drop": options.calibrated_drop,
            "calibrated_on": "the other half of the test split" if options.halves else "the calibration split",
            "max_points_lost": 100 * MAX_DROP,
            "target_speed_up": TARGET,
            "machine": machine_metadata(),
            "results": rows,
        },
    )


def remarks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Remarks on rows that lose too much accuracy, and on networks that lose it without early exit."""
    found = [
        f"! {row['run']}, batch {row['batch']}: {-row['points']:.2f} points below the plain network, "
        f"more than {100 * MAX_DROP:g}"
        for row in rows
        if not row["accuracy_held"]
    ]
    for name, points in {(row["run"], row["full_points"]): None for row in rows}:
        if not held(points):
            found.append(
                f"{name}: the whole network with exits is already {-points:.2f} points below the plain one, so "
                "early exit is not the cause"
            )
    return found


def held(points: float) -> bool:
    """Whether an accuracy `points` above the plain network's (negative: below) is within the limit."""
    return points >= -100 * MAX_DROP - 1e-9


def _compare(run: Run, plain: Run, options: argparse.Namespace) -> list[dict[str, Any]]:
    images, labels = sample_test_split(run, options.images)
    plain_images, plain_labels = sample_test_split(plain, options.images)
    if not np.array_equal(labels, plain_labels):
        raise SystemExit(f"{run.name} and {plain.name} were tested on different images")
    with tempfile.TemporaryDirectory() as folder:
        bundle = export_run(run, Path(folder) / "early").bundle
        reference = export_run(plain, Path(folder) / "plain", options=ExportOptions(layouts=("prefixes",))).bundle
        with AnytimeClassifier.load(bundle.path, threads=options.threads) as classifier:
            table = measure_stops(classifier, images[:200], device="here", repeats=options.repeats)
        write_latency_table(bundle, table)
        found = []
        for half in _halves(len(labels)) if options.halves else [slice(None)]:
            drop = _calibrate(bundle, run, plain, half, options)
            with (
                AnytimeClassifier.load(bundle.path, threads=options.threads) as early,
                AnytimeClassifier.load(reference.path, threads=options.threads, layout="prefixes") as whole,
            ):
                own = (images[half], plain_images[half], labels[half])
                found.append([_alternate(early, whole, *own, batch) for batch in BATCHES])
                predictions = early.classify(own[0], None, batch_size=BLOCK)
                for row in found[-1]:
                    row["full"] = sum(one.index == label for one, label in zip(predictions, own[2], strict=True))
                    row["max_drop"] = drop
    rows = [_summed(each, len(labels)) for each in zip(*found, strict=True)]
    metadata = {"run": run.name, "plain_run": plain.name, "images": len(labels)}
    accuracies = exit_accuracy(*run.read_logits("test"))
    cuts = run.read_metadata().cuts
    return [
        {
            **metadata,
            **row,
            "exits": [
                {
                    "name": f"{k + 1} {cuts[k]}",
                    "accuracy": float(accuracies[k]),
                    "chained_macs": bundle.manifest.exits[k].chained_macs,
                    "ms": table.exits[k].mean_ms,
                    "fraction": row["fractions"][k],
                }
                for k in range(len(cuts))
            ],
            "accuracy_held": held(row["points"]),
            "full_points": 100 * (row["full_accuracy"] - row["plain_accuracy"]),
        }
        for row in rows
    ]


def _halves(images: int) -> list[np.ndarray]:
    order = np.random.default_rng(0).permutation(images)
    return [np.sort(order[::2]), np.sort(order[1::2])]


def _calibrate(bundle: Bundle, run: Run, plain: Run, half: Any, options: argparse.Namespace) -> float:
    """Choose the point `chosen` on the images that are not in `half`, or on the calibration split; the drop allowed."""
    splits = [of.read_logits("test" if options.halves else "calibration") for of in (run, plain)]
    if options.halves:
        sample = stratified_sample(splits[0].labels, options.images)
        others = np.delete(sample, half)
        splits = [SplitLogits(split.logits[others], split.labels[others]) for split in splits]
    full, target = (float(exit_accuracy(*split)[-1]) for split in splits)
    drop = max(full - (target - options.calibrated_drop / 100), 0.0)
    asked = CalibrationOptions((Request("chosen", max_drop=drop),), solver=options.solver)
    macs = [exit.chained_macs for exit in bundle.manifest.exits]
    latency = read_latency_table(bundle, "here")
    write_operating_points(Bundle.open(bundle.path), calibrate(*splits[0], macs, asked, latency=latency).points)
    return drop


def _summed(parts: Sequence[dict[str, Any]], images: int) -> dict[str, Any]:
    """One row of the rows of parts of the images."""
    total = {
        key: sum(part[key] for part in parts) for key in ("right", "plain_right", "full", "seconds", "plain_seconds")
    }
    stopped = np.sum([part["stopped"] for part in parts], axis=0)
    accuracy, plain_accuracy = total["right"] / images, total["plain_right"] / images
    return {
        "batch": parts[0]["batch"],
        "max_drop": [part["max_drop"] for part in parts],
        "accuracy": accuracy,
        "plain_accuracy": plain_accuracy,
        "points": 100 * (accuracy - plain_accuracy),
        "ms": 1e3 * total["seconds"] / images,
        "plain_ms": 1e3 * total["plain_seconds"] / images,
        "speed_up": total["plain_seconds"] / total["seconds"],
        "fractions": (stopped / images).tolist(),
        "full_accuracy": total["full"] / images,
    }


def _alternate(
    early: AnytimeClassifier,
    whole: AnytimeClassifier,
    images: np.ndarray,
    plain_images: np.ndarray,
    labels: np.ndarray,
    batch: int,
) -> dict[str, Any]:
    variants = {"early": (early, "chosen", images), "plain": (whole, None, plain_images)}
    seconds = dict.fromkeys(variants, 0.0)
    indices: dict[str, list[int]] = {variant: [] for variant in variants}
    early.reset_statistics()
    for start in range(0, len(labels), BLOCK):
        rows = range(start, min(start + BLOCK, len(labels)), batch)
        end = start + BLOCK
        calls = {
            variant: [
                partial(classifier.classify, images[row : min(row + batch, end)], policy, batch_size=batch)
                for row in rows
            ]
            for variant, (classifier, policy, images) in variants.items()
        }
        for timed in time_in_turns(calls, warmup=WARMUP):  # wake its threads and fill the caches
            seconds[timed.key] += 1e-3 * timed.milliseconds
            indices[timed.key] += [prediction.index for prediction in timed.result]
    right = {variant: int(np.sum(np.array(found) == labels)) for variant, found in indices.items()}
    return {
        "batch": batch,
        "right": right["early"],
        "plain_right": right["plain"],
        "seconds": seconds["early"],
        "plain_seconds": seconds["plain"],
        "stopped": np.array(early.statistics().fractions) * len(labels),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--calibrated-drop", type=float, default=100 * MAX_DROP, metavar="POINTS")
    parser.add_argument("--solver", default="direct", choices=("direct", "common", "msdnet"))
    parser.add_argument("--halves", action="store_true", help="calibrate on one half of the test split for the other")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "early_exit_speedup.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
