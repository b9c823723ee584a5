"""Everything that only a GPU can show, in one command of at most ten minutes: `make gpu`.

    python deploy/gpu_kit/checks.py

Needs an NVIDIA GPU, CUDA's runtime library and TensorRT (`pip install tensorrt`), and torch to write a network. Runs
the tests marked `gpu`, builds the engines of an untrained ResNet-18 at 224 and proves them, and times one image at a
time, in turn: the engine of the whole network, its segments with the decision on the host, the graph that decides on
the device, and both with zero copy. `docs/gpu.md` lists what this proves. `--rehearse` does the same but for the tests
with ONNX Runtime on a CPU, at 32 pixels, to try the script itself.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgemate import files
from edgemate.bundle import Bundle
from edgemate.errors import BackendError
from edgemate.machine import machine_metadata
from edgemate.policies import FixedExit
from edgemate.runtime import AnytimeClassifier, Latency, measure_alternately

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

WAYS: dict[str, dict[str, Any]] = {
    "segments": {"decide": "host"},
    "segments, zero copy": {"decide": "host", "zero_copy": True},
    "deciding on the device": {"decide": "device"},
    "deciding on the device, zero copy": {"decide": "device", "zero_copy": True},
}


def main() -> None:
    """Run all of it; exit code 1 where a test or a way of answering fails, 2 where there is no GPU or TensorRT."""
    options = _options()
    started = time.monotonic()
    if options.repeats < 1:
        _end(f"--repeats {options.repeats}: must be 1 or more")
    backend = "onnxruntime" if options.rehearse else _backend()
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _end(f"{options.output}: cannot be made: {error.strerror}")
    tests = None if options.rehearse else _tests()
    bundle = _bundle(options.output / "resnet18", 32 if options.rehearse else 224)
    if not options.rehearse:
        _run("-m", "edgemate", "build", str(bundle.path), "--layouts", "segments,prefixes", "--batch", "1:1:8")
    timed, failures = _timed(bundle, backend, {"segments": {}} if options.rehearse else WAYS, options.repeats)
    _print(timed, failures)
    files.write_json(
        options.output / "checks.json",
        {
            "benchmark": "gpu_checks",
            "network": f"resnet18, untrained, {'x'.join(map(str, bundle.manifest.input.shape(1)[1:]))}",
            "machine": machine_metadata(),
            "backend": backend,
            "unit": "ms",
            "tests_exit_code": tests,
            "results": {name: asdict(latency) for name, latency in timed.items()},
            "failures": failures,
            "seconds": round(time.monotonic() - started),
        },
    )
    sys.exit(1 if tests or failures else 0)


def _backend() -> str:
    from edgemate.runtime.backends.tensorrt.compat import is_installed, load_tensorrt
    from edgemate.runtime.backends.tensorrt.device import find_device

    if find_device() is None:
        _end("no NVIDIA GPU is found; run this on a machine with one, or --rehearse")
    if not is_installed("tensorrt") and not is_installed("tensorrt_rtx"):
        _end("TensorRT is not installed; pip install tensorrt")
    try:
        return load_tensorrt().flavour
    except BackendError as error:
        _end(str(error))


def _end(message: str) -> Any:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _tests() -> int:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "tests"], cwd=ROOT, check=False
    ).returncode


def _run(*arguments: str) -> None:
    if code := subprocess.run([sys.executable, *arguments], check=False).returncode:
        sys.exit(code)


def _bundle(path: Path, side: int) -> Bundle:
    from random_bundle import write_random_bundle

    return Bundle.open(path) if path.exists() else write_random_bundle(path, "resnet18", (3, side, side))


def _timed(
    bundle: Bundle, backend: str, ways: Mapping[str, dict[str, Any]], repeats: int
) -> tuple[dict[str, Latency], dict[str, str]]:
    """Times by way and exit, and why a way cannot be timed."""
    image = np.random.default_rng(0).normal(size=bundle.manifest.input.shape(1)).astype(np.float32)
    exits = range(1, len(bundle.manifest.exits) + 1)
    calls: dict[str, Callable[[], object]] = {}
    failures = {}
    with ExitStack() as stack:
        whole = stack.enter_context(AnytimeClassifier.load(bundle, backend, layout="prefixes", threads=1))
        reference = whole.classify(image)[0].logits
        calls["whole network, one graph"] = lambda: whole.classify(image)
        for name, given in ways.items():
            try:
                classifier = stack.enter_context(AnytimeClassifier.load(bundle, backend, threads=1, **given))
            except BackendError as error:
                failures[name] = str(error)
                continue
            for exit in (exits[0], exits[-1]):
                answer = classifier.classify(image, FixedExit(exit))[0]
                if answer.exit != exit:
                    failures[name] = f"answers at exit {answer.exit} where exit {exit} is asked for"
                policy = FixedExit(exit)
                calls[f"{name}, exit {exit}"] = lambda classifier=classifier, policy=policy: classifier.classify(
                    image, policy
                )
            if not np.allclose(classifier.classify(image)[0].logits, reference, rtol=0.05, atol=0.05):
                failures[name] = "its last exit's logits are not those of the whole network"
        return measure_alternately(calls, warmup=50, repeats=repeats), failures


def _print(timed: Mapping[str, Latency], failures: Mapping[str, str]) -> None:
    whole = timed["whole network, one graph"].p50
    print(f"{'':<44} {'p50, ms':>9} {'p99':>9} {'of whole':>9}")
    for name, latency in timed.items():
        print(f"{name:<44} {latency.p50:>9.3f} {latency.p99:>9.3f} {latency.p50 / whole:>9.2f}")
    for name, reason in failures.items():
        print(f"! {name}: {reason}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--repeats", type=int, default=500)
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "gpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
