"""Measure what `classify` of one image costs on the host, with nothing behind it: fixed, and per exit.

    python benchmarks/host_path.py
    python benchmarks/host_path.py --before COMMIT

TensorRT and CUDA are replaced by stubs that do nothing, so what is timed is Python and numpy alone. A ready float32
image, and separately a uint8 image, is classified by each policy so that it stops at each exit that the policy can stop
at. A line is fitted to the medians of the exits at which a decision is made, which is all but the last. With
`--before`, the package of that commit is loaded into the same process, and both take turns.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from random_bundle import write_random_bundle

from edgemate import files
from edgemate.bundle import Bundle
from edgemate.machine import machine_metadata
from edgemate.timing import time_blocks

ROOT = Path(__file__).parents[1]
TARGET_FIXED_US, TARGET_EXIT_US = 30, 5
NEVER = 1e9
Key = tuple[str, str, str, int]  # version: "this" or "before"; image, policy, exit


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_random_bundle(Path(folder) / "bundle", "resnet18", (3, 32, 32))
        calls = _calls("this", ROOT, bundle)
        if options.before:
            _extract(options.before, Path(folder) / "before")
            calls = {**_calls("before", Path(folder) / "before", bundle), **calls}
        blocks = time_blocks(calls, repeats=options.repeats, random=np.random.default_rng(0))
    medians = {key: 1e3 * float(np.median(np.concatenate(times))) for key, times in blocks.items()}
    results = _fitted(medians, len(bundle.manifest.exits))
    print(f"{'version':<8} {'image':<8} {'policy':<12} {'µs to stop at exit':>28} {'fixed':>7} {'per exit':>9}")
    for row in results:
        to_stop = " ".join(f"{exit}: {microseconds:.1f}" for exit, microseconds in row["us"].items())
        print(
            f"{row['version']:<8} {row['image']:<8} {row['policy']:<12} {to_stop:>28} "
            f"{row['fixed_us']:>7.1f} {row['per_exit_us']:>9.1f}"
        )
    print(f"target, float32: at most {TARGET_FIXED_US} µs fixed and {TARGET_EXIT_US} µs per exit")
    files.write_json(
        options.output,
        {
            "benchmark": "host_path",
            "network": f"resnet18, 3x32x32, {len(bundle.manifest.exits)} exits, 100 classes, batch 1, stubs",
            "machine": machine_metadata(),
            "load": options.load,
            "before": options.before,
            "unit": "microseconds, p50; fixed and per exit are a least-squares line over all exits but the last",
            "target": {"fixed": TARGET_FIXED_US, "per exit": TARGET_EXIT_US},
            "repeats": options.repeats,
            "results": results,
        },
    )


def _fitted(medians: dict[Key, float], last: int) -> list[dict[str, Any]]:
    curves: dict[tuple[str, str, str], dict[int, float]] = {}
    for (version, image, policy, exit), microseconds in medians.items():
        curves.setdefault((version, image, policy), {})[exit] = microseconds
    rows = []
    for (version, image, policy), curve in curves.items():
        decided = [exit for exit in curve if exit < last]
        slope, fixed = np.polyfit(decided, [curve[exit] for exit in decided], 1)
        row = {"version": version, "image": image, "policy": policy, "us": curve}
        rows.append(row | {"fixed_us": float(fixed), "per_exit_us": float(slope)})
    return rows


def _calls(version: str, root: Path, bundle: Bundle) -> dict[Key, Callable[[], object]]:
    """The calls to time, of the package in folder `root`."""
    package = _Package(root)
    classifier = package.classifier(bundle.path)
    random = np.random.default_rng(0)
    images = {
        "float32": random.normal(size=(1, 3, 32, 32)).astype(np.float32),
        "uint8": random.integers(0, 256, (32, 32, 3), dtype=np.uint8),
    }
    calls: dict[Key, Callable[[], object]] = {}
    for kind, image in images.items():
        for name, exit, policy in package.policies(len(bundle.manifest.exits)):
            [answer] = classifier.classify(image, policy)
            if answer.exit != exit:
                raise SystemExit(f"{name}: stops at exit {answer.exit} where {exit} was meant")
            calls[version, kind, name, exit] = partial(classifier.classify, image, policy)
    return calls


class _Package:
    """The edgemate in folder `root`, imported beside any other one."""

    def __init__(self, root: Path) -> None:
        kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "edgemate"}
        sys.path.insert(0, str(root))
        try:
            names = ("policies", "runtime", "bundle", "runtime.backends.tensorrt.backend")
            found = [importlib.import_module(f"edgemate.{name}") for name in names]
            self._policies, self._runtime, self._bundle, self._backend = found
            importlib.import_module("edgemate.calibration")
        finally:
            sys.path.remove(str(root))
            for name in [name for name in sys.modules if name.split(".")[0] == "edgemate"]:
                del sys.modules[name]
            sys.modules.update(kept)

    def classifier(self, path: Path) -> Any:
        """A classifier on TensorRT and CUDA that do nothing; the logits are the same at every exit."""
        backend, bundle = self._backend, self._bundle.Bundle.open(path)
        cuda = _no_cuda(backend.Cuda)
        graphs = bundle.manifest.graphs["segments"]
        metadata = SimpleNamespace(options={"batch": "1:1:8"}, layout="segments", precision="fp32")
        found = [SimpleNamespace(path=path / graph.file, graph=graph, metadata=metadata) for graph in graphs]
        backend.load_tensorrt = lambda flavour: _NoTensorRT()
        backend.find_engines = lambda bundle, trt, layout: found
        backend.open_engine = lambda trt, file: _NoEngine(file.graph)
        backend.prove_at_first_load = lambda *given: None
        backend.Cuda = SimpleNamespace(load=lambda: cuda)
        opened = backend.TensorRTBackend(bundle, layout="segments", threads=None)
        cuda.fill()
        return self._runtime.AnytimeClassifier(bundle, opened)

    def policies(self, exits: int) -> list[tuple[str, int, Any]]:
        """Name, exit and a policy that stops there, for each exit where the policy of that name can."""
        made = []
        for exit in range(1, exits + 1):
            early = exits - 1
            passed = [float(exit <= k) for k in range(1, exits)]  # 1 from the exit on
            high = [1.0 - one for one in passed]
            policies = self._policies
            made += [
                ("confidence", exit, policies.Confidence(high)),
                ("entropy", exit, policies.Entropy([NEVER * one for one in passed])),
                ("margin", exit, policies.Margin(high)),
                (
                    "deadline",
                    exit,
                    policies.Deadline(NEVER, segment_ms=[0.0] * exits, inner=policies.Confidence(high)),
                ),
            ]
            if exit > 1:  # its first comparison is at exit 2
                made.append(("patience", exit, policies.Patience(exit - 1 if exit <= early else exits)))
        return made


class _NoEngine:
    """An engine that takes and gives what its graph says."""

    def __init__(self, graph: Any) -> None:
        self._inputs = {tensor.name for tensor in graph.inputs}
        self._tensors = {tensor.name: tensor for tensor in (*graph.inputs, *graph.outputs)}
        self.num_io_tensors = len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_format(self, name: str) -> Any:
        return SimpleNamespace(name="LINEAR")

    def get_tensor_mode(self, name: str) -> Any:
        return SimpleNamespace(name="INPUT" if name in self._inputs else "OUTPUT")

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name={"float32": "FLOAT", "float16": "HALF"}[self._tensors[name].dtype])

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(-1 if size == "batch" else size for size in self._tensors[name].shape)

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [(size, *self.get_tensor_shape(name)[1:]) for size in (1, 1, 8)]


class _NoTensorRT:
    version_text = "none"
    kernels = None
    has_graphs = False
    shares_profiles = True

    def is_capturable(self, context: Any, stream: Any) -> bool:
        return True

    def require_device(self) -> None:
        """It needs none."""

    def scratch_bytes(self, opened: Any) -> int:
        return 1

    def create_execution_context(self, opened: Any, scratch: int, **options: Any) -> Any:
        return SimpleNamespace(
            set_input_shape=lambda name, shape: True,
            set_tensor_address=lambda name, address: True,
            execute_async_v3=lambda stream: True,
        )


def _no_cuda(cuda: Any) -> Any:
    """An object of the class `cuda` whose calls do nothing, but for pinned memory, which numpy needs."""

    class NoCuda(cuda):  # type: ignore[misc]
        version = 0  # so that segments are launched one by one: what decides on a device costs the host less

        def is_integrated(self) -> bool:
            return False

        def __init__(self) -> None:
            self._pinned: list[Any] = []

        def fill(self) -> None:
            """Put the same random logits into all pinned memory."""
            for block in self._pinned:
                array = np.frombuffer(block, dtype=np.float32)
                array[:] = np.random.default_rng(0).normal(size=len(array))

        def call(self, name: str, *arguments: Any) -> int:
            """What is not named below."""
            return 0

        def allocate(self, size: int) -> int:
            return 4096

        def allocate_pinned(self, size: int) -> int:
            self._pinned.append((ctypes.c_uint8 * size)())
            return ctypes.addressof(self._pinned[-1])

        def create_stream(self) -> int:
            return 1

        def create_event(self) -> int:
            return 1

        def capture(self, stream: Any, record: Callable[[], None]) -> int:
            return 1

        def launch(self, graph: Any, stream: Any) -> None: ...

        def record(self, event: Any, stream: Any) -> None: ...

        def wait(self, event: Any) -> None: ...

        def synchronize(self, stream: Any) -> None: ...

        def upload(self, to: int, source: int, size: int, stream: Any) -> None: ...

        def download(self, to: int, source: int, size: int, stream: Any) -> None: ...

    return NoCuda()


def _extract(commit: str, target: Path) -> None:
    packed = subprocess.run(
        ["git", "-C", str(ROOT), "archive", commit, "edgemate"], check=True, capture_output=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(target, filter="data")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", metavar="COMMIT", help="a commit to compare with, such as HEAD~3")
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--load", default="not noted", help="what else the machine did, for the record")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "host_path.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
