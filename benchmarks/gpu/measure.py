"""Engines against ONNX Runtime's answers and against each other, on the machine that has the GPU.

    python benchmarks/gpu/measure.py build/gpu-kit/work --output benchmarks/results

Reads what prepare.py wrote, with engines built into its bundles. Every exit of every layout is compared with ONNX
Runtime's logits of the same graphs; then, one picture at a time and in turn: segments one after another, the one engine
of the whole network, and the conditional engine, with and without CUDA graphs and speculation. Writes
`tensorrt_<gpu>.json`. Needs no torch, no onnx and no onnxruntime. `--backend onnxruntime` rehearses all of it on a CPU.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgemate import files
from edgemate.bundle.manifest import Layout
from edgemate.errors import BackendError
from edgemate.exits import FixedExit, Policy, read_operating_points
from edgemate.machine import machine_facts
from edgemate.runtime import AnytimeClassifier, Latency, measure_alternately

# Of exits' top-1 answers, how many must be ONNX Runtime's. INT8 rounds differently in every library: shown, not judged.
AGREEMENT = {"fp32": 0.999, "fp16": 0.99}
CHAINED_OVER_ENGINE = 1.05  # at fp16, batch 1, with CUDA graphs
SPEED_UP = 1.5  # of the operating point over the whole network's engine

Variants = dict[str, tuple[Layout, dict[str, bool]]]
VARIANTS: dict[bool, Variants] = {
    True: {
        "segments": ("segments", {}),
        "segments, speculating": ("segments", {"speculate": True}),
        "segments, no CUDA graphs": ("segments", {"cuda_graphs": False}),
        "prefix": ("prefixes", {}),
        "prefix, no CUDA graphs": ("prefixes", {"cuda_graphs": False}),
        "conditional": ("conditional", {}),
    },
    False: {"segments": ("segments", {}), "prefix": ("prefixes", {}), "conditional": ("conditional", {})},
}


def main() -> None:
    options = _options()
    pictures = files.read_arrays(options.work / "pictures.npz")
    images, labels = pictures["images"], pictures["labels"]
    found, facts = {}, {}
    for precision in options.precisions:
        reference = files.read_arrays(options.work / f"reference_{precision}.npz")["logits"]
        opened = _open(options.work / "bundles" / precision, options.backend)
        try:
            facts = opened["segments"].backend.facts()
            found[precision] = {
                "agreement": _agreement(opened, images, reference),
                "latency_ms": _latency(opened, images[:1], options.repeats),
                "operating_point": _operating_point(opened, options.point, images[: options.timed], labels),
            }
        finally:
            for classifier in opened.values():
                classifier.close()
        _print(precision, found[precision])
    rehearsal = options.backend == "onnxruntime"
    judged = [line for line in _judge(found) if not (rehearsal and line["timed"])]
    for line in judged:
        print(f"{line['what']}: {line['value']:.4f}, {line['limit']}: {'held' if line['held'] else 'NOT HELD'}")
    if rehearsal:
        print("a rehearsal on ONNX Runtime: the times above say nothing about TensorRT")
    name = "rehearsal" if rehearsal else re.sub(r"[^a-z0-9]+", "-", facts["gpu"].lower()).strip("-")
    path = options.output / f"tensorrt_{name}.json"
    files.write_json(
        path,
        {
            "benchmark": "gpu/tensorrt",
            "machine": machine_facts(),
            "backend": facts,
            "pictures": len(images),
            "unit": "ms, one picture, from numpy array to prediction",
            "results": found,
            "targets": judged,
        },
    )
    print(f"written: {path}")


def _open(bundle: Path, backend: str) -> dict[str, AnytimeClassifier]:
    """The variants that can be had; not every TensorRT builds a conditional engine."""
    opened = {}
    for variant, (layout, switches) in VARIANTS[backend != "onnxruntime"].items():
        try:
            opened[variant] = AnytimeClassifier.load(bundle, backend, layout=layout, verify=False, **switches)
        except BackendError as error:
            if layout != "conditional":
                raise
            print(f"left out: {error}")
    return opened


def _agreement(
    opened: Mapping[str, AnytimeClassifier], images: np.ndarray, reference: np.ndarray
) -> dict[str, list[dict[str, float]]]:
    """Per variant and exit: the largest difference of a logit, and the share of pictures given the same class."""
    rows: dict[str, list[dict[str, float]]] = {}
    for variant, classifier in opened.items():
        rows[variant] = []
        for exit in range(1, reference.shape[1] + 1):
            answers = classifier.classify(images, FixedExit(exit), batch_size=8)
            logits, expected = np.stack([answer.logits for answer in answers]), reference[:, exit - 1]
            same = logits.argmax(axis=1) == expected.argmax(axis=1)
            difference = float(np.abs(logits - expected).max())
            rows[variant].append({"exit": exit, "difference": difference, "top1_agreement": float(same.mean())})
    return rows


def _latency(
    opened: Mapping[str, AnytimeClassifier], image: np.ndarray, repeats: int
) -> dict[str, list[dict[str, Any]]]:
    """Per variant: the time to the answer at each exit, all of them in turn."""
    exits = range(1, len(opened["segments"].exits) + 1)
    calls: dict[tuple[str, int], Callable[[], object]] = {
        (variant, exit): partial(classifier.classify, image, FixedExit(exit))
        for variant, classifier in opened.items()
        for exit in exits
    }
    measured = measure_alternately(calls, warmup=50, repeats=repeats)
    return {variant: [{"exit": exit, **asdict(measured[variant, exit])} for exit in exits] for variant in opened}


def _operating_point(
    opened: Mapping[str, AnytimeClassifier], name: str, images: np.ndarray, labels: np.ndarray
) -> dict[str, Any]:
    """An operating point on real pictures, one at a time, each picture by every variant in turn."""
    point = read_operating_points(opened["segments"].bundle).get(name)
    policy = point.as_policy()
    policies: dict[str, Policy | None] = {
        variant: None if variant.startswith("prefix") else policy
        for variant in opened
        if variant != "conditional" or point.temperatures is None
    }
    times: dict[str, list[float]] = {variant: [] for variant in policies}
    exits: dict[str, list[int]] = {variant: [] for variant in policies}
    right: dict[str, list[bool]] = {variant: [] for variant in policies}
    for row, label in enumerate(labels[: len(images)].tolist()):
        for variant, chosen in policies.items():
            started = time.perf_counter_ns()
            [answer] = opened[variant].classify(images[row : row + 1], chosen)
            times[variant].append((time.perf_counter_ns() - started) * 1e-6)
            exits[variant].append(answer.exit)
            right[variant].append(answer.index == label)
    mean = {variant: float(np.mean(found)) for variant, found in times.items()}
    return {
        "name": name,
        "thresholds": list(point.thresholds),
        "pictures": len(images),
        "speed_up": mean["prefix"] / mean["segments"],
        "variants": {
            variant: {
                **asdict(Latency.of(times[variant])),
                "accuracy": float(np.mean(right[variant])),
                "shares": (np.bincount(exits[variant], minlength=len(point.thresholds) + 2)[1:] / len(images)).tolist(),
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
    if "fp16" in found:
        latency = found["fp16"]["latency_ms"]
        ratio = latency["segments"][-1]["p50"] / latency["prefix"][-1]["p50"]
        judged.append(
            _line("fp16: all segments over the one engine", ratio, CHAINED_OVER_ENGINE, at_least=False, timed=True)
        )
    for precision, result in found.items():
        speed_up = result["operating_point"]["speed_up"]
        what = f"{precision}: {result['operating_point']['name']}, times faster than the one engine"
        judged.append(_line(what, speed_up, SPEED_UP, at_least=True, timed=True))
    return judged


def _line(what: str, value: float, limit: float, *, at_least: bool, timed: bool) -> dict[str, Any]:
    held = value >= limit if at_least else value <= limit
    bound = f"at {'least' if at_least else 'most'} {limit}"
    return {"what": what, "value": value, "limit": bound, "held": held, "timed": timed}


def _print(precision: str, found: dict[str, Any]) -> None:
    print(f"{precision}: p50 ms to the answer at each exit | worst top-1 agreement, largest difference | at the point")
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
    parser.add_argument("work", type=Path, help="what prepare.py wrote")
    parser.add_argument("--backend", default="tensorrt")
    parser.add_argument("--precisions", type=lambda text: text.split(","), default=["fp32", "fp16", "int8"])
    parser.add_argument("--point", default="balanced", help="operating point to run on real pictures")
    parser.add_argument("--repeats", type=int, default=500)
    parser.add_argument("--timed", type=int, default=2000, help="pictures for the operating point")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
