"""The conditional graph against segments and host-side policy, in ONNX Runtime: the same exits, and at what time.

    python benchmarks/conditional_graph.py runs/fashion_mnist-resnet8_mate

First every test image goes through both at each of the bundle's operating points, one image at a time. Then both
are made to stop at every exit in turn, on one image, in turn in one process and on the same number of threads.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from edgemate import files
from edgemate.bundle import Bundle
from edgemate.exits import Confidence, read_operating_points
from edgemate.exporting import ExportOptions, export_run
from edgemate.machine import machine_metadata
from edgemate.profiling.images import sample_test_split
from edgemate.runs import Run
from edgemate.runtime import AnytimeClassifier, measure_alternately


def main() -> None:
    options = _options()
    run = Run.open(options.run)
    images, _ = sample_test_split(run, options.images)
    with tempfile.TemporaryDirectory() as folder:
        layouts = ("segments", "prefixes", "conditional")
        bundle = export_run(run, Path(folder) / run.name, options=ExportOptions(layouts=layouts)).bundle
        conditional = _Conditional(bundle, options.threads)
        with AnytimeClassifier.load(bundle.path, threads=options.threads) as segments:
            exits = [
                _same_exits(point, segments, conditional, images) for point in read_operating_points(bundle).points
            ]
            times = _times(segments, conditional, images[:1], options.repeats)
    for row in exits:
        print(
            f"{row['point']:<10} {len(images):,} images, exits {row['exits']}: {row['different']} differ; "
            f"mean ms: segments {row['segments_ms']:.4f}, conditional {row['conditional_ms']:.4f}"
        )
    for row in times:
        print(
            f"stop at exit {row['exit']}: p50 ms: segments {row['segments']['p50']:.4f}, "
            f"conditional {row['conditional']['p50']:.4f}"
        )
    files.write_json(
        options.output,
        {
            "benchmark": "conditional_graph",
            "run": run.name,
            "images": len(images),
            "machine": machine_metadata(),
            "threads": options.threads,
            "unit": "ms, batch 1; segments with the host-side policy of AnytimeClassifier",
            "operating_points": exits,
            "stop_at_each_exit": times,
        },
    )
    sys.exit(1 if any(row["different"] for row in exits) else 0)


class _Conditional:
    """The conditional graph in one session."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        [graph] = bundle.manifest.graphs["conditional"]
        self._session = onnxruntime.InferenceSession(
            bundle.file(graph.file), options, providers=["CPUExecutionProvider"]
        )

    def run(self, image: np.ndarray, thresholds: np.ndarray) -> int:
        """The exit taken for an image (1, C, H, W)."""
        _, exit = self._session.run(["logits", "exit"], {"image": image, "thresholds": thresholds})
        return int(exit[0])


def _same_exits(
    point: Any, segments: AnytimeClassifier, conditional: _Conditional, images: np.ndarray
) -> dict[str, Any]:
    policy, thresholds = point.as_policy(), np.asarray(point.thresholds, np.float32)
    images = [images[i : i + 1] for i in range(len(images))]
    wanted = [segments.classify(image, policy)[0].exit for image in images]
    taken = [conditional.run(image, thresholds) for image in images]
    calls: dict[str, Callable[[], Any]] = {
        "segments": lambda: [segments.classify(image, policy) for image in images],
        "conditional": lambda: [conditional.run(image, thresholds) for image in images],
    }
    latency = measure_alternately(calls, warmup=0, repeats=3)
    return {
        "point": point.name,
        "thresholds": list(point.thresholds),
        "exits": np.bincount(wanted, minlength=len(segments.exits) + 1)[1:].tolist(),
        "different": sum(a != b for a, b in zip(wanted, taken, strict=True)),
        **{f"{name}_ms": found.p50 / len(images) for name, found in latency.items()},
    }


def _times(
    segments: AnytimeClassifier, conditional: _Conditional, image: np.ndarray, repeats: int
) -> list[dict[str, Any]]:
    rows = []
    exits = len(segments.exits)
    for exit in range(1, exits + 1):
        thresholds = (np.arange(1, exits) < exit).astype(np.float32)
        policy = Confidence(thresholds.tolist())
        calls: dict[str, Callable[[], Any]] = {
            "segments": lambda policy=policy: segments.classify(image, policy),
            "conditional": lambda thresholds=thresholds: conditional.run(image, thresholds),
        }
        latency = measure_alternately(calls, warmup=20, repeats=repeats)
        rows.append({"exit": exit, **{name: asdict(found) for name, found in latency.items()}})
    return rows


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/fashion_mnist-resnet8_mate"))
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "conditional_graph.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
