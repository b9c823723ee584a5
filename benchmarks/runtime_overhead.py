"""Measure the overhead of the classifier over the graphs alone: exit policy and bookkeeping, per segment.

    python benchmarks/runtime_overhead.py

One image at a time runs through all exits of resnet8 at 8×8, and through the same sessions called directly, in turn
in one process on 1 thread. The network is small on purpose: the noise of a large one would hide the difference.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from random_bundle import write_random_bundle

from edgemate import files
from edgemate.bundle import Bundle
from edgemate.machine import machine_metadata
from edgemate.policies import Confidence, Deadline, Entropy, Margin, Patience, Policy
from edgemate.runtime import AnytimeClassifier, measure_alternately

TARGET_US = 50
# None of these stops before the last exit, so every call runs every segment.
POLICIES: dict[str, Policy] = {
    "confidence": Confidence(1.0),
    "confidence, temperature": Confidence(1.0, temperature=1.5),
    "entropy": Entropy(0.0),
    "margin": Margin(1.0),
    "patience": Patience(100),
    "deadline": Deadline(1e9, inner=Confidence(1.0)),
}


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_random_bundle(Path(folder) / "resnet8", "resnet8", (1, 8, 8))
        found = _measure(bundle, options.repeats)
    exits = len(bundle.manifest.exits)
    print(f"{'':<26} {'p50, µs per segment':>20} {'mean':>8}")
    for name, row in found.items():
        print(f"{name:<26} {row['p50']:>20.1f} {row['mean']:>8.1f}")
    print(f"target: at most {TARGET_US} above the bare sessions")
    files.write_json(
        options.output,
        {
            "benchmark": "runtime_overhead",
            "network": f"resnet8, 1x8x8, {exits} exits, linear heads, batch 1",
            "machine": machine_metadata(),
            "threads": 1,
            "unit": "microseconds per segment; all rows except the first are differences to it",
            "target": TARGET_US,
            "results": found,
        },
    )


def _measure(bundle: Bundle, repeats: int) -> dict[str, dict[str, float]]:
    image = np.random.default_rng(0).normal(size=(1, 1, 8, 8)).astype(np.float32)
    with AnytimeClassifier.load(bundle.path, threads=1) as classifier:
        calls: dict[str, Callable[[], Any]] = {"bare sessions": _bare(bundle, image)}
        for name, policy in POLICIES.items():
            calls[f"classify, {name}"] = lambda policy=policy: classifier.classify(image, policy)
        calls["stream"] = lambda: list(classifier.stream(image))
        latency = measure_alternately(calls, warmup=200, repeats=repeats)
    exits = len(bundle.manifest.exits)
    bare = latency.pop("bare sessions")
    found = {"bare sessions": {"p50": 1e3 * bare.p50 / exits, "mean": 1e3 * bare.mean / exits}}
    for name, summary in latency.items():
        found[name] = {
            "p50": 1e3 * (summary.p50 - bare.p50) / exits,
            "mean": 1e3 * (summary.mean - bare.mean) / exits,
        }
    return found


def _bare(bundle: Bundle, image: np.ndarray) -> Callable[[], Any]:
    """A call of the segments' sessions one after another, with the backend's session options."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    sessions = []
    for graph in bundle.manifest.graphs["segments"]:
        path = bundle.file(graph.file)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        sessions.append((session, [tensor.name for tensor in graph.outputs]))

    def run() -> Any:
        tensors = {"image": image}
        for session, names in sessions:
            outputs = dict(zip(names, session.run(names, tensors), strict=True))
            tensors = {name: tensor for name, tensor in outputs.items() if not name.startswith("logits")}
        return outputs

    return run


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "runtime_overhead.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
