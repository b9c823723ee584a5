"""Measure the cost of being able to stop: all segments chained against the single full graph.

    python benchmarks/segment_overhead.py

ResNet-18 at 32×32 with four exits, ONNX Runtime on 2 threads, batch 1 and 16, measured in turn in one process. The
full graph is the prefix of the last exit: the plain backbone and its head. So the earlier heads are part of the
overhead.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from random_bundle import write_random_bundle

from edgemate import files
from edgemate.machine import machine_metadata
from edgemate.runtime import measure_alternately
from edgemate.runtime.backends.onnxruntime import ONNXRuntimeBackend

TARGET = 1.10


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_random_bundle(Path(folder) / "resnet18", "resnet18", (3, 32, 32), stem="cifar")
        segments = ONNXRuntimeBackend(bundle, layout="segments", threads=options.threads)
        prefixes = ONNXRuntimeBackend(bundle, layout="prefixes", threads=options.threads)
        found = [_measure(segments, prefixes, batch, options.repeats) for batch in options.batch]
    print(f"{'batch':>5} {'full graph, ms':>20} {'segments, ms':>20} {'ratio of medians':>17}")
    for row in found:
        full, chained = (f"{row[name]['p50']:.2f} (p90 {row[name]['p90']:.2f})" for name in ("full", "segments"))
        print(f"{row['batch']:>5} {full:>20} {chained:>20} {row['ratio']:>17.3f}")
    print(f"target: at most {TARGET:.2f}")
    files.write_json(
        options.output,
        {
            "benchmark": "segment_overhead",
            "network": "resnet18, stem cifar, 3x32x32, 4 exits, linear heads",
            "machine": machine_metadata(),
            "threads": options.threads,
            "unit": "ms",
            "target_ratio": TARGET,
            "results": found,
        },
    )


def _measure(segments: ONNXRuntimeBackend, prefixes: ONNXRuntimeBackend, batch: int, repeats: int) -> dict[str, Any]:
    images = np.random.default_rng(0).normal(size=(batch, 3, 32, 32)).astype(np.float32)

    def chained() -> np.ndarray:
        flow = segments.begin(images)
        for _ in range(3):
            flow.advance()
        return flow.advance()

    def full() -> np.ndarray:
        return prefixes.run_prefix(4, images)

    np.testing.assert_allclose(chained(), full(), rtol=1e-3, atol=1e-4)
    latency = measure_alternately({"full": full, "segments": chained}, warmup=10, repeats=max(repeats // batch, 30))
    ratio = latency["segments"].p50 / latency["full"].p50
    return {"batch": batch, **{name: asdict(summary) for name, summary in latency.items()}, "ratio": ratio}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=500, help="rounds at batch 1; fewer for a larger batch")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "segment_overhead.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
