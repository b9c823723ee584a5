"""As much of TensorRT as the runner calls: engines of the small network that compute with numpy in fake device memory.

An engine's file is JSON that says what it takes and gives. What a real TensorRT leaves undefined is an AssertionError:
a context run with a shape or an address missing, touched after a graph was captured from it, or together with another
one in the same working memory. Up to 8.6, a second living context of an engine of dynamic shapes is refused, as by the
real one, unless the engine was built to share its profile.
"""

from __future__ import annotations

import datetime
import enum
import json
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import small_network
from built_here import record_as_built
from bundles import CONTRACT
from fake_cuda import FakeCuda

from edgemate import files
from edgemate.bundle import Bundle, Graph
from edgemate.bundle.manifest import FileMetadata, Layout
from edgemate.policies.scores import max_probability
from edgemate.runtime.backends.tensorrt import backend
from edgemate.runtime.backends.tensorrt.compat import TensorRT
from edgemate.runtime.backends.tensorrt.cuda import Cuda
from edgemate.runtime.backends.tensorrt.device import Device, this_system
from edgemate.runtime.backends.tensorrt.engine_metadata import EngineMetadata, metadata_path
from edgemate.runtime.backends.tensorrt.loading import engine_name, engine_tag
from edgemate.runtime.backends.tensorrt.options import BatchRange, BuildOptions
from edgemate.runtime.preprocessing import Preprocessor

DEVICE = Device("Fake GPU", "8.7", "CUDA 12.6", this_system(), "Fake board", 16, 64)
SCRATCH_BYTES = 64


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    UINT8 = 5


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


VERSIONS = ("8.5.3", "8.6.1", "10.3.0")
"""One context per profile; more where the engine was built so; more always."""


def fake_tensorrt(cuda: FakeCuda, version: str = "10.3.0") -> TensorRT:
    """TensorRT as edgemate knows it, over the fake; `.module.ran` lists what its engines ran: `(exit, images)`.

    `.module.formats` has the formats that are not linear: `(exit, tensor)` → name.
    """

    class ILogger:
        pass

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, plan: bytes) -> FakeEngine:
            return FakeEngine(json.loads(plan), cuda, self.logger, module)

    module = SimpleNamespace(
        __version__=version,
        ILogger=ILogger,
        Logger=SimpleNamespace(ERROR=1, INTERNAL_ERROR=0),
        Runtime=Runtime,
        ran=[],
        uncapturable=set(),
        formats={},
        shares_profiles=not version.startswith("8."),
    )
    if module.shares_profiles:
        module.ICudaEngine, module.IExecutionContext = FakeEngine, FakeContext
        module.ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user managed")
    return TensorRT(module, "tensorrt", DEVICE)


def install(patch: pytest.MonkeyPatch, cuda: FakeCuda, trt: TensorRT) -> None:
    """Let the TensorRT backend find the fakes."""
    patch.setattr(backend, "load_tensorrt", lambda flavour: trt)
    patch.setattr(backend.Cuda, "load", lambda: Cuda(cuda))


def write_engines(bundle: Bundle, layouts: Sequence[Layout], trt: TensorRT, batch: str, **options: Any) -> None:
    """Put fake engines of the layouts into the bundle, as `edgemate build` with these options would put real ones."""
    folder = bundle.path / "engines" / engine_tag(trt, DEVICE)
    for layout in layouts:
        limits = BatchRange(1, 1, 1) if layout == "conditional" else BatchRange.parse(batch)
        for graph in bundle.manifest.graphs[layout]:
            path = folder / engine_name(graph)
            plan = _plan(layout, graph, limits) | {"network": bundle.manifest.name, "shares": trt.version >= (8, 6)}
            files.write_bytes(path, json.dumps(plan).encode())
            metadata = EngineMetadata(
                edgemate="0.1.0",
                created=datetime.datetime(2024, 1, 2, tzinfo=datetime.timezone.utc),
                layout=layout,
                exit=graph.exit,
                onnx=graph.file,
                onnx_sha256=bundle.manifest.files[graph.file].sha256,
                engine=FileMetadata(sha256=files.sha256(path), bytes=path.stat().st_size),
                library="tensorrt",
                version=trt.version_text,
                gpu=DEVICE.name,
                board=DEVICE.board,
                multiprocessors=DEVICE.multiprocessors,
                memory_gib=DEVICE.memory_gib,
                compute_capabilities=(DEVICE.compute_capability,),
                driver=DEVICE.driver,
                system=DEVICE.system,
                precision="fp32",
                layer_precisions=None,
                options=BuildOptions(batch=limits, **options).metadata(),
                build_seconds=1.0,
            )
            files.write_json(metadata_path(path), metadata.model_dump(mode="json"))
    record_as_built(bundle.path)


def _plan(layout: Layout, graph: Graph, batch: BatchRange) -> dict[str, Any]:
    def described(tensors: Any) -> dict[str, Any]:
        return {tensor.name: [tensor.dtype, [-1 if n == "batch" else n for n in tensor.shape]] for tensor in tensors}

    stages = [graph.exit] if layout == "segments" else list(range(1, graph.exit + 1))
    plan = {"layout": layout, "exit": graph.exit, "stages": stages, "batch": [batch.min, batch.opt, batch.max]}
    return plan | {"inputs": described(graph.inputs), "outputs": described(graph.outputs)}


class FakeEngine:
    """`ICudaEngine`."""

    device_memory_size = device_memory_size_v2 = SCRATCH_BYTES

    def __init__(self, plan: dict[str, Any], cuda: FakeCuda, logger: Any, module: Any) -> None:
        self.plan = plan
        self.cuda = cuda
        self.logger = logger
        self.module = module
        self.tensors = plan["inputs"] | plan["outputs"]
        self.num_io_tensors = len(self.tensors)
        self.contexts: list[weakref.ref[FakeContext]] = []

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.plan["inputs"] else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        kinds = {"float32": "FLOAT", "float16": "HALF", "int8": "INT8", "int32": "INT32", "uint8": "UINT8"}
        return DataType[kinds[self.tensors[name][0]]]

    def get_tensor_format(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(name=self.module.formats.get((self.plan["exit"], name), "LINEAR"))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.tensors[name][1])

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        assert profile == 0
        return [(size, *self.get_tensor_shape(name)[1:]) for size in self.plan["batch"]]

    def create_execution_context(self, strategy: Any) -> FakeContext:
        assert strategy == "user managed"
        return self._context()

    def create_execution_context_without_device_memory(self) -> FakeContext:
        return self._context()

    def _context(self) -> FakeContext:
        dynamic = any(-1 in self.get_tensor_shape(name) for name in self.plan["inputs"])
        alone = dynamic and not self.module.shares_profiles and not self.plan["shares"]
        self.contexts = [context for context in self.contexts if context() is not None]
        made = FakeContext(self, has_profile=not alone or not self.contexts)
        self.contexts.append(weakref.ref(made))
        return made


class FakeContext:
    """`IExecutionContext`."""

    def __init__(self, engine: FakeEngine, has_profile: bool) -> None:
        self._engine = engine
        self._has_profile = has_profile
        self._cuda = engine.cuda
        self._scratch = 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._fresh = True  # shapes have changed since it last ran
        self._recorded: list[Callable[[], None]] = []

    def set_device_memory(self, address: int, size: int) -> None:
        self._cuda.view("device", address, size)
        assert size >= SCRATCH_BYTES
        self._scratch = address

    @property
    def device_memory(self) -> int:
        """How working memory is given up to 8.6."""
        return self._scratch

    @device_memory.setter
    def device_memory(self, address: int) -> None:
        self.set_device_memory(address, SCRATCH_BYTES)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._assert_not_captured()
        if not self._has_profile:
            self._engine.logger.log(1, "Profile 0 has been chosen by another IExecutionContext")
            return False
        least, _, most = self._engine.plan["batch"]
        known = self._engine.get_tensor_shape(name)
        fits = shape[1:] == known[1:] and (least <= shape[0] <= most if known[0] == -1 else shape == known)
        if not fits:
            self._engine.logger.log(1, f"{name}: {shape} is outside the profile")
            return False
        self._fresh = self._fresh or self._shapes.get(name) != shape
        self._shapes[name] = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._assert_not_captured()
        assert name in self._engine.tensors
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        plan = self._engine.plan
        assert self._scratch
        assert self._shapes.keys() == plan["inputs"].keys(), "an input has no shape"
        assert self._addresses.keys() == self._engine.tensors.keys(), "a tensor has no address"
        if self._cuda.is_capturing(stream):
            assert not self._fresh, "its first run after a change of shape cannot be captured"
            if plan["exit"] in self._engine.module.uncapturable:
                self._cuda.invalidate(stream)
                self._engine.logger.log(1, "not permitted while capturing")
                return False
        self._fresh = False
        work = partial(_compute, weakref.ref(self), dict(self._shapes), dict(self._addresses))
        if self._cuda.is_capturing(stream):
            self._recorded.append(work)
        self._cuda.enqueue(stream, f"{plan['layout']} {plan['exit']}", work)
        return True

    def _assert_not_captured(self) -> None:
        assert not any(map(self._cuda.is_in_graph, self._recorded)), "a graph was captured from it"

    def compute(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
        plan = self._engine.plan
        rows = shapes["image"][0] if "image" in shapes else next(iter(shapes.values()))[0]
        # Working memory is written all over, as a real engine would.
        self._cuda.view("device", self._scratch, SCRATCH_BYTES)[:] = bytes([plan["exit"]]) * SCRATCH_BYTES
        given = {name: self._array(name, rows, addresses[name]) for name in plan["inputs"]}
        # It computes in float32 whatever it is given, but for pixels, which are prepared first.
        inputs = {name: one.astype(one.dtype if one.dtype == np.uint8 else np.float32) for name, one in given.items()}
        with np.errstate(all="ignore"):  # rows of no image hold anything
            computed = self._answers(inputs)
        for name in plan["outputs"]:
            self._array(name, rows, addresses[name])[...] = computed[name]
        self._engine.module.ran.append((plan["exit"], rows))

    def _answers(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        plan = self._engine.plan
        if "image" in inputs and inputs["image"].dtype == np.uint8:  # with the nodes of `exporting/uint8_input.py`
            prepared = [
                Preprocessor(CONTRACT.model_copy(update={"resize": None, "center_crop": None})).prepare(image)
                for image in inputs["image"]
            ]
            inputs = inputs | {"image": np.stack(prepared)}
        run = partial(small_network.run, plan["stages"], network=plan["network"])
        if plan["layout"] != "conditional":
            return run(inputs)
        computed = run({"image": inputs["image"]})
        for exit, threshold in enumerate([*inputs["thresholds"].tolist(), -1], start=1):
            logits = computed[f"logits_{exit}"]
            if max_probability(logits)[0] > threshold:
                return {"logits": logits, "exit": np.array([exit], np.int32)}
        raise AssertionError("the last exit answers always")

    def _array(self, name: str, rows: int, address: int) -> np.ndarray:
        dtype, shape = self._engine.tensors[name]
        shape = [rows if size == -1 else size for size in shape]
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return np.frombuffer(self._cuda.view("device", address, size), dtype=dtype).reshape(shape)


def _compute(context: weakref.ref[FakeContext], shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
    alive = context()
    assert alive is not None, "the context was given back before its work was done"
    alive.compute(shapes, addresses)
