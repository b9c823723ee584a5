"""What the GPU machine is to run, made where torch and onnx are: a run's bundles, images, and what ONNX Runtime says.

    python benchmarks/gpu/prepare.py runs/cifar100-resnet18_mate build/gpu-kit/work

Writes `bundles/<precision>/` with all layouts; `images.npz`, test images as uint8 (N, H, W, C), or ready float32
(N, C, H, W) where the network sees them at another size, and labels int64 (N,); and `reference_<precision>.npz`, the
logits float32 (n, K, C) of every prefix for the first n of them. A precision that is unavailable is named, the others
are made all the same, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np

from edgemate import files
from edgemate.bundle import Bundle
from edgemate.bundle.manifest import Precision
from edgemate.data import InputSpec
from edgemate.errors import EdgemateError
from edgemate.exporting import ExportOptions, export_run
from edgemate.profiling.images import sample_test_images, sample_test_split
from edgemate.runs import Run
from edgemate.runtime import Preprocessor
from edgemate.runtime.backends.onnxruntime import ONNXRuntimeBackend

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
# All 10,000 of CIFAR's 32x32x3 are 31 MB; ready images of 3x224x224 are cut off at this.
MAX_BYTES = 100 << 20


def main() -> None:
    options = _options()
    run = Run.open(options.run)
    images, labels = _images(run, options.images, options.compared)
    files.write_arrays(options.output / "images.npz", {"images": images, "labels": labels})
    failed = []
    for precision in PRECISIONS:
        try:
            print(f"{precision}: {_prepare(run, precision, images, labels, options)}", flush=True)
        except EdgemateError as error:  # the other precisions are worth having
            shutil.rmtree(options.output / "bundles" / precision, ignore_errors=True)  # an earlier run's
            (options.output / f"reference_{precision}.npz").unlink(missing_ok=True)
            print(f"{precision}: failed: {error}", flush=True)
            failed.append(precision)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}; what was made of the others is in {options.output}")


def _prepare(
    run: Run, precision: Precision, images: np.ndarray, labels: np.ndarray, options: argparse.Namespace
) -> str:
    """Make one precision's bundle and reference; what to say of it."""
    bundle = export_run(
        run,
        options.output / "bundles" / precision,
        options=ExportOptions(layouts=("segments", "prefixes", "conditional"), precision=precision, overwrite=True),
    ).bundle
    # Made ready as the device does it, so that both see the same pixels.
    [images] = Preprocessor(bundle.manifest.input).batches(list(images[: options.compared]), options.compared)
    logits = _prefix_logits(bundle, images)
    files.write_arrays(options.output / f"reference_{precision}.npz", {"logits": logits})
    accuracy = (logits.argmax(axis=2) == labels[: len(logits), None]).mean(axis=0)
    return f"top-1 per exit on {len(logits)} images: {', '.join(f'{share:.4f}' for share in accuracy)}"


def _images(run: Run, count: int, compared: int) -> tuple[np.ndarray, np.ndarray]:
    """Up to `count` test images and their labels; the first `compared` are spread over the classes like all."""
    source, indices = sample_test_images(run, count)
    if source.array is not None and InputSpec.from_json(run.read_metadata().input).resize is None:
        images, labels = source.array[indices], source.labels[indices]
    else:
        images, labels = sample_test_split(run, count)
    most = min(len(images), MAX_BYTES // images[0].nbytes)
    chosen = np.linspace(0, len(images) - 1, most).astype(int)  # spread, since a folder's images are sorted by class
    first = np.zeros(most, bool)
    first[np.linspace(0, most - 1, min(compared, most)).astype(int)] = True
    chosen = np.concatenate([chosen[first], chosen[~first]])
    return images[chosen], labels[chosen]


def _prefix_logits(bundle: Bundle, images: np.ndarray) -> np.ndarray:
    backend = ONNXRuntimeBackend(bundle, layout="prefixes", threads=None)
    parts = [images[start : start + 100] for start in range(0, len(images), 100)]
    exits = range(1, len(bundle.manifest.exits) + 1)
    return np.stack([np.concatenate([backend.run_prefix(exit, part) for part in parts]) for exit in exits], axis=1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--images", type=int, default=10_000, help="of the test split")
    parser.add_argument("--compared", type=int, default=2000, help="of those, how many ONNX Runtime answers")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except EdgemateError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
