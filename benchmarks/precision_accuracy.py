"""Measure the change in accuracy of fp16 and INT8 graphs against float32 at every exit, in ONNX Runtime.

    python benchmarks/precision_accuracy.py runs/fashion_mnist-resnet8_mate

INT8 ranges come from the calibration split. Accuracy is measured on a stratified sample of the test split.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from edgemate import files
from edgemate.bundle import Bundle
from edgemate.bundle.manifest import Layout, Precision
from edgemate.exporting import ExportOptions, export_run
from edgemate.exporting.precision import convert_layout
from edgemate.exporting.precision_images import precision_images
from edgemate.exporting.verify import layout_logits
from edgemate.machine import machine_metadata
from edgemate.profiling.sampled_images import sample_test_split
from edgemate.runs import Run

# Points of top-1 accuracy that an exit may lose.
TARGETS: dict[Precision, float] = {"fp16": 0.1, "int8": 0.5, "int8+fp16": 0.5}
LAYOUTS: tuple[Layout, ...] = ("segments", "prefixes")


def main() -> None:
    options = _options()
    run = Run.open(options.run)
    images, labels = sample_test_split(run, options.images)
    ranges = precision_images(run)
    with tempfile.TemporaryDirectory() as folder:
        bundle = export_run(run, Path(folder) / "fp32", options=ExportOptions(layouts=LAYOUTS)).bundle
        found = [row for layout in LAYOUTS for row in _measure(bundle, layout, ranges.ranges, images, labels)]
    print(f"{run.name}: top-1 on {len(labels):,} test images, ranges from {len(ranges.indices)} calibration images")
    print(
        f"{'layout':<9} {'precision':<10} {'exit':>4} {'fp32':>8} {'top-1':>8} {'points':>7} {'agree':>8} {'logits':>8}"
    )
    for row in found:
        print(
            f"{row['layout']:<9} {row['precision']:<10} {row['exit']:>4} {row['accuracy_fp32']:>8.2%} "
            f"{row['accuracy']:>8.2%} {row['change_points']:>+7.2f} {row['agreement']:>8.2%} {row['difference']:>8.4f}"
        )
    held = all(row["change_points"] >= -TARGETS[row["precision"]] for row in found)
    limits = ", ".join(f"{precision} {points}" for precision, points in TARGETS.items())
    print(f"points lost at most: {limits}: {'held' if held else 'NOT HELD'}; logits: largest difference of a logit")
    files.write_json(
        options.output,
        {
            "benchmark": "precision_accuracy",
            "run": run.name,
            "images": len(labels),
            "calibration_images": len(ranges.indices),
            "machine": machine_metadata(),
            "target_points_lost": TARGETS,
            "held": held,
            "results": found,
        },
    )
    sys.exit(0 if held else 1)


def _measure(
    bundle: Bundle, layout: Layout, ranges: np.ndarray, images: np.ndarray, labels: np.ndarray
) -> list[dict[str, Any]]:
    graphs = bundle.manifest.graphs[layout]
    full = layout_logits(bundle.path, layout, graphs, images)
    rows = []
    for precision in TARGETS:
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(bundle.path / "onnx", Path(folder) / "onnx")
            converted = convert_layout(Path(folder), graphs, precision, ranges)
            logits = layout_logits(Path(folder), layout, converted.graphs, images)
        for k in range(logits.shape[1]):
            reference, predicted = full[:, k].argmax(1), logits[:, k].argmax(1)
            before, after = int((reference == labels).sum()), int((predicted == labels).sum())
            rows.append(
                {
                    "layout": layout,
                    "precision": precision,
                    "exit": k + 1,
                    "accuracy_fp32": before / len(labels),
                    "accuracy": after / len(labels),
                    "change_points": 100 * (after - before) / len(labels),
                    "agreement": float((reference == predicted).mean()),
                    "difference": float(np.abs(logits[:, k] - full[:, k]).max()),
                    "largest_logit": float(np.abs(full[:, k]).max()),
                    "kept_fp32": len(converted.kept_fp32),
                }
            )
    return rows


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/fashion_mnist-resnet8_mate"))
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "precision_accuracy.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
