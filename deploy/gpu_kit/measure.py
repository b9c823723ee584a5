"""Compare TensorRT engines with ONNX Runtime's logits and time them against each other, on the GPU machine.

    python deploy/gpu_kit/measure.py build/gpu-kit/work --output benchmarks/results

Reads the output of prepare.py, with engines built into its bundles. First it compares every exit of every layout with
ONNX Runtime's logits of the same graphs. Then it times, one image at a time and in turn: chained segments, the single
engine of the whole network, the conditional engine, and the CUDA graph that decides on the device, with and without
speculation, CUDA graphs and zero copy. That graph must answer at the same exits as the host does. The conditional
engine runs without CUDA graphs only, since a graph would freeze its branch. Last it runs early exit on all test
images, with thresholds calibrated with the measured times for at most half a point less accuracy.

Writes `tensorrt_<gpu>.json` after each of these, keeps results of other precisions from earlier calls on the same
machine, and lists failures with their reason. Needs neither torch, onnx nor onnxruntime. `--backend onnxruntime`
rehearses all of it on a CPU.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgemate import files
from edgemate.bundle.manifest import Layout
from edgemate.calibration import CalibrationOptions, Request, calibrate
from edgemate.errors import BackendError, EdgemateError
from edgemate.machine import machine_metadata
from edgemate.policies import FixedExit, Policy
from edgemate.runtime import AnytimeClassifier, Latency, Preprocessor, measure_alternately
from edgemate.runtime.backends.tensorrt.compat import load_tensorrt
from edgemate.runtime.stop_times import measure_stops

# Minimum top-1 agreement with ONNX Runtime. INT8 rounds differently in every library: reported, not judged.
AGREEMENT = {"fp32": 0.999, "fp16": 0.99}
CHAINED_OVER_ENGINE = 1.05  # at fp16, batch 1, with CUDA graphs
SPEED_UP = 1.5  # of early exit over the engine of the whole network
MAX_DROP = 0.005  # of accuracy, as a fraction

SAME_EXIT = 0.999  # of images, decided on the device and on the host: scores at a threshold may round apart

DECIDING = "deciding on the device"
Variants = dict[str, tuple[Layout, dict[str, bool | str]]]
VARIANTS: dict[bool, Variants] = {
    True: {
        "segments": ("segments", {"decide": "host"}),
        "segments, speculating": ("segments", {"decide": "host", "speculate": True}),
        "segments, no CUDA graphs": ("segments", {"decide": "host", "cuda_graphs": False}),
        "segments, zero copy": ("segments", {"decide": "host", "zero_copy": True}),
        DECIDING: ("segments", {"decide": "device"}),
        f"{DECIDING}, zero copy": ("segments", {"decide": "device", "zero_copy": True}),
        "prefix": ("prefixes", {}),
        "prefix, no CUDA graphs": ("prefixes", {"cuda_graphs": False}),
        "conditional": ("conditional", {}),
    },
    False: {"segments": ("segments", {}), "prefix": ("prefixes", {}), "conditional": ("conditional", {})},
}


def main() -> None:
    options = _options()
    images = files.read_arrays(options.work / "images.npz")
    rehearsal = options.backend == "onnxruntime"
    gpu = "rehearsal" if rehearsal else load_tensorrt(options.backend).require_device().name
    name = re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")
    path = options.output / f"tensorrt_{name}.json"
    metadata = {
        "benchmark": "gpu_kit/tensorrt",
        "machine": machine_metadata(),
        "gpu": gpu,
        "library": options.backend,
        "images": min(len(images["labels"]), options.timed),
        "unit": "ms, one image, from preprocessed numpy array to prediction",
    }
    results = _earlier(path, metadata)
    for precision in options.precisions:
        found: dict[str, Any] = {}
        results[precision] = found
        try:
            for _ in _measure(found, options, precision, images):
                _write(path, metadata, results, rehearsal)
        except Exception as error:  # continue with the other precisions
            found["failed"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        judged = _write(path, metadata, results, rehearsal)
        _print(precision, found)
        for line in judged:
            if line["what"].startswith(precision):
                verdict = "met" if line["met"] else "NOT MET"
                print(f"{line['what']}: {line['value']:.4f}, {line['limit']}: {verdict}", flush=True)
    if rehearsal:
        print("rehearsal on ONNX Runtime: these are not times of TensorRT")
    print(f"written: {path}")
    if failed := [precision for precision in options.precisions if "failed" in results[precision]]:
        raise SystemExit(f"failed: {', '.join(failed)}; the reasons are in {path}")


def _measure(
    found: dict[str, Any], options: argparse.Namespace, precision: str, images: Mapping[str, np.ndarray]
) -> Iterator[None]:
    """Fill `found`, yielding after each completed part."""
    reference = files.read_arrays(options.work / f"reference_{precision}.npz")["logits"]
    opened, unavailable = _open(options.work / "bundles" / precision, options.backend)
    try:
        segments = opened["segments"]
        labels = images["labels"][: options.timed]
        [images] = Preprocessor(segments.input).batches(list(images["images"][: options.timed]), len(labels))
        reference = reference[: len(images)]
        found["backend"] = segments.backend.metadata()
        if unavailable:
            found["unavailable"] = unavailable
        found["agreement"] = _agreement(opened, images[: len(reference)], reference)
        yield
        found["latency_ms"] = _latency(opened, images[:1], options.repeats)
        # Only now: a prefix is opened when it is first run.
        graphs = {variant: classifier.backend.metadata().get("cuda graphs") for variant, classifier in opened.items()}
        found["cuda_graphs"] = {variant: state for variant, state in graphs.items() if state}
        yield
        found["operating_point"] = _operating_point(opened, images, labels, options.repeats)
        yield
    finally:
        for classifier in opened.values():
            classifier.close()


def _earlier(path: Path, metadata: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Results in the file, if they are of the same machine and images."""
    if not path.is_file():
        return {}
    earlier = json.loads(path.read_text(encoding="utf-8"))
    results: dict[str, dict[str, Any]] = earlier.get("results", {})
    return results if all(earlier.get(name) == value for name, value in metadata.items()) else {}


def _write(
    path: Path, metadata: dict[str, Any], results: dict[str, dict[str, Any]], rehearsal: bool
) -> list[dict[str, Any]]:
    judged = [line for line in _judge(results) if not (rehearsal and line["timed"])]
    files.write_json(path, {**metadata, "results": results, "targets": judged})
    return judged


def _open(bundle: Path, backend: str) -> tuple[dict[str, AnytimeClassifier], dict[str, str]]:
    """Classifiers by variant, and why one is unavailable: a conditional engine or a CUDA graph that decides may be."""
    opened: dict[str, AnytimeClassifier] = {}
    unavailable = {}
    for variant, (layout, switches) in VARIANTS[backend != "onnxruntime"].items():
        try:
            opened[variant] = AnytimeClassifier.load(bundle, backend, layout=layout, verify=False, **switches)
        except BackendError as error:
            if layout != "conditional" and not variant.startswith(DECIDING):
                for classifier in opened.values():
                    classifier.close()
                raise
            unavailable[variant] = " ".join(str(error).split())
    return opened, unavailable


def _agreement(
    opened: Mapping[str, AnytimeClassifier], images: np.ndarray, reference: np.ndarray
) -> dict[str, list[dict[str, float]]]:
    """Per variant and exit: the largest difference of a logit, and the fraction of images with the same top-1 class."""
    rows: dict[str, list[dict[str, float]]] = {}
    for variant, classifier in opened.items():
        rows[variant] = []
        for exit in range(1, reference.shape[1] + 1):
            batch = 1 if variant.startswith(DECIDING) else 8  # it takes one image
            predictions = classifier.classify(images, FixedExit(exit), batch_size=batch)
            logits, expected = np.stack([prediction.logits for prediction in predictions]), reference[:, exit - 1]
            same = logits.argmax(axis=1) == expected.argmax(axis=1)
            difference = float(np.abs(logits - expected).max())
            rows[variant].append({"exit": exit, "difference": difference, "top1_agreement": float(same.mean())})
    return rows


def _latency(
    opened: Mapping[str, AnytimeClassifier], image: np.ndarray, repeats: int
) -> dict[str, list[dict[str, Any]]]:
    """Per variant: milliseconds to the prediction at each exit, all of them measured in turn."""
    exits = range(1, len(opened["segments"].exits) + 1)
    calls: dict[tuple[str, int], Callable[[], object]] = {
        (variant, exit): partial(classifier.classify, image, FixedExit(exit))
        for variant, classifier in opened.items()
        for exit in exits
    }
    measured = measure_alternately(calls, warmup=50, repeats=repeats)
    return {variant: [{"exit": exit, **asdict(measured[variant, exit])} for exit in exits] for variant in opened}


def _operating_point(
    opened: Mapping[str, AnytimeClassifier], images: np.ndarray, labels: np.ndarray, repeats: int
) -> dict[str, Any]:
    """Early exit on real images, one at a time: every variant in turn on each image."""
    segments = opened["segments"]
    table = measure_stops(segments, images, device="here", repeats=repeats)
    stored = segments.bundle.calibration()
    # Without temperatures, which the conditional graph does not support.
    point = calibrate(
        stored.logits,
        stored.labels,
        [exit.chained_macs for exit in segments.bundle.manifest.exits],
        CalibrationOptions([Request("early", max_drop=MAX_DROP)], fit_temperatures=False),
        latency=table,
    ).points.get("early")
    policy = point.as_policy().with_temperatures((1.0,) * (point.exits - 1))
    policies: dict[str, Policy | None] = {
        variant: None if variant.startswith("prefix") else policy for variant in opened
    }
    times: dict[str, list[float]] = {variant: [] for variant in policies}
    exits: dict[str, list[int]] = {variant: [] for variant in policies}
    correct: dict[str, list[bool]] = {variant: [] for variant in policies}
    for row, label in enumerate(labels[: len(images)].tolist()):
        for variant, chosen in policies.items():
            started = time.perf_counter_ns()
            [prediction] = opened[variant].classify(images[row : row + 1], chosen)
            times[variant].append((time.perf_counter_ns() - started) * 1e-6)
            exits[variant].append(prediction.exit)
            correct[variant].append(prediction.index == label)
    mean = {variant: float(np.mean(found)) for variant, found in times.items()}
    return {
        "goal": point.goal,
        "ms_to_stop_at_exit": list(table.costs),
        "thresholds": list(point.thresholds or ()),
        "images": len(images),
        "speed_up": mean["prefix"] / mean["segments"],
        "points_lost": 100 * float(np.mean(correct["prefix"]) - np.mean(correct["segments"])),
        "variants": {
            variant: {
                **asdict(Latency.of(times[variant])),
                "accuracy": float(np.mean(correct[variant])),
                "same_exit": float(np.mean(np.equal(exits[variant], exits["segments"]))),
                "fractions": (np.bincount(exits[variant], minlength=point.exits + 1)[1:] / len(images)).tolist(),
            }
            for variant in policies
        },
    }


def _judge(found: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    judged = []
    for precision, least in AGREEMENT.items():
        for variant, rows in found.get(precision, {}).get("agreement", {}).items():
            value = min(row["top1_agreement"] for row in rows)
            judged.append(
                _line(f"{precision}, {variant}: top-1 agreement, worst exit", value, least, at_least=True, timed=False)
            )
    if latency := found.get("fp16", {}).get("latency_ms"):
        ratio = latency["segments"][-1]["p50"] / latency["prefix"][-1]["p50"]
        judged.append(
            _line("fp16: segments over the single engine", ratio, CHAINED_OVER_ENGINE, at_least=False, timed=True)
        )
    for precision, result in found.items():
        if point := result.get("operating_point"):
            what = f"{precision}: early exit, "
            judged.append(
                _line(what + "points lost", point["points_lost"], 100 * MAX_DROP, at_least=False, timed=False)
            )
            for variant, timed in point["variants"].items():
                if variant.startswith(DECIDING):
                    same = f"{what}{variant}: same exit as on the host"
                    judged.append(_line(same, timed["same_exit"], SAME_EXIT, at_least=True, timed=False))
            faster = what + "speed-up over the single engine"
            judged.append(_line(faster, point["speed_up"], SPEED_UP, at_least=True, timed=True))
    return judged


def _line(what: str, value: float, limit: float, *, at_least: bool, timed: bool) -> dict[str, Any]:
    met = value >= limit if at_least else value <= limit
    bound = f"at {'least' if at_least else 'most'} {limit}"
    return {"what": what, "value": value, "limit": bound, "met": met, "timed": timed}


def _print(precision: str, found: dict[str, Any]) -> None:
    if "failed" in found:
        print(f"{precision}: failed: {found['failed']}")
    if "operating_point" not in found:
        return
    print(f"{precision}: p50 ms at each exit | worst top-1 agreement, largest difference | at the operating point")
    timed = found["operating_point"]["variants"]
    for variant, rows in found["latency_ms"].items():
        agreement = found["agreement"][variant]
        worst = min(row["top1_agreement"] for row in agreement)
        difference = max(row["difference"] for row in agreement)
        mean = (
            f"mean {timed[variant]['mean']:.4f} ms, top-1 {timed[variant]['accuracy']:.4f}" if variant in timed else ""
        )
        figures = " ".join(f"{row['p50']:8.4f}" for row in rows)
        print(f"  {variant:<25} {figures} | {worst:.4f} {difference:9.2e} | {mean}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="output folder of prepare.py")
    parser.add_argument("--backend", default="tensorrt")
    parser.add_argument("--precisions", type=lambda text: text.split(","), default=["fp16", "fp32", "int8"])
    parser.add_argument("--repeats", type=int, default=500)
    parser.add_argument("--timed", type=int, default=10_000, help="images that early exit runs on")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[2] / "benchmarks" / "results")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except EdgemateError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
