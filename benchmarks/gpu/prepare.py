"""What the GPU machine is to run, made where torch and onnx are: a run's bundles, pictures, and what ONNX Runtime says.

    python benchmarks/gpu/prepare.py runs/cifar100-resnet18_mate build/gpu-kit/work

Writes `bundles/<precision>/` with all layouts, `pictures.npz` (images float32, labels int64) and
`reference_<precision>.npz` (logits float32 (N, K, C) of every prefix).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from edgemate import files
from edgemate.bundle import Bundle
from edgemate.bundle.manifest import Precision
from edgemate.export import ExportOptions, export_run
from edgemate.profiling.pictures import sample_test_split
from edgemate.runs import Run
from edgemate.runtime.backends.onnxruntime import ONNXRuntimeBackend

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
# Pictures travel as they go into the network; 2,000 of 3x32x32 are 25 MB, of 3x224x224 they would be 1.2 GB.
MOST_BYTES = 100 << 20


def main() -> None:
    options = _options()
    run = Run.open(options.run)
    images, labels = sample_test_split(run, options.pictures)
    most = MOST_BYTES // images[0].nbytes
    if len(images) > most:  # spread, since a folder's pictures are sorted by class
        chosen = np.linspace(0, len(images) - 1, most).astype(int)
        images, labels = images[chosen], labels[chosen]
    files.write_arrays(options.output / "pictures.npz", {"images": images, "labels": labels})
    for precision in PRECISIONS:
        bundle = export_run(
            run,
            options.output / "bundles" / precision,
            options=ExportOptions(layouts=("segments", "prefixes", "conditional"), precision=precision, overwrite=True),
        ).bundle
        logits = _prefix_logits(bundle, images)
        files.write_arrays(options.output / f"reference_{precision}.npz", {"logits": logits})
        accuracy = (logits.argmax(axis=2) == labels[:, None]).mean(axis=0)
        print(
            f"{precision}: top-1 per exit on {len(labels)} pictures: {', '.join(f'{share:.4f}' for share in accuracy)}"
        )


def _prefix_logits(bundle: Bundle, images: np.ndarray) -> np.ndarray:
    backend = ONNXRuntimeBackend(bundle, layout="prefixes", threads=None)
    parts = [images[start : start + 100] for start in range(0, len(images), 100)]
    exits = range(1, len(bundle.manifest.exits) + 1)
    return np.stack([np.concatenate([backend.run_prefix(exit, part) for part in parts]) for exit in exits], axis=1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--pictures", type=int, default=2000)
    return parser.parse_args()


if __name__ == "__main__":
    main()
