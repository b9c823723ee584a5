"""One engine, opened: what it takes and gives, checked against the manifest, and contexts that execute it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgemate.bundle import Graph
from edgemate.errors import BackendError
from edgemate.runtime.backends.tensorrt.formats import LINEAR
from edgemate.runtime.backends.tensorrt.options import BatchRange
from edgemate.wording import counted

if TYPE_CHECKING:
    from edgemate.runtime.backends.tensorrt.compat import TensorRT

# By TensorRT's names, since its own nptype() breaks on numpy 1.24 and later up to version 8.5.
_DTYPES = {"FLOAT": "float32", "HALF": "float16", "INT8": "int8", "INT32": "int32", "UINT8": "uint8"}


@dataclass(frozen=True)
class Slot:
    """An input or output of an engine.

    `shape` is one row's: an image's, or the whole tensor's where it has no batch (`batched` is false), as in the
    conditional graph. `format` is TensorRT's name of how it lies in memory; see `formats.py`.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    batched: bool
    is_input: bool
    format: str = LINEAR

    @property
    def row_bytes(self) -> int:
        """Bytes per row."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    def of(self, rows: int) -> tuple[int, ...]:
        """The tensor's shape for `rows` images."""
        return (rows, *self.shape) if self.batched else self.shape


class Engine:
    """An engine of one graph.

    Args:
        trt: the library.
        path: the engine's file, for messages.
        deserialize: opens it. It is called again for every further context of an engine that may have one only.
        graph: what the manifest says of its graph.

    Raises:
        BackendError: the engine does not take and give what the manifest says.
    """

    def __init__(self, trt: TensorRT, path: Path, deserialize: Callable[[], Any], graph: Graph) -> None:
        self.path = path
        self.exit = graph.exit
        self._trt = trt
        self._deserialize = deserialize
        self._opened = deserialize()
        self._copies: list[Any] = []
        self._has_context = False
        self.slots = self._checked_slots(graph)
        self.batch = self._batch_range(graph.inputs[0].name)
        self.scratch_bytes = trt.scratch_bytes(self._opened)
        dynamic = any(-1 in self._opened.get_tensor_shape(slot.name) for slot in self.slots.values() if slot.is_input)
        self.has_many_contexts: bool = trt.shares_profiles or not dynamic

    def create_context(self, scratch: int, *, library_graphs: bool = False) -> Any:
        """A context that works in the device memory at `scratch`, which must have `scratch_bytes`.

        No two contexts may work in the same memory at the same time. With `library_graphs`, the library makes CUDA
        graphs by itself, where it can. Where `has_many_contexts` is false, every context but the first is one of a copy
        of the engine, with weights of its own.
        """
        opened = self._opened
        if self._has_context and not self.has_many_contexts:
            opened = self._deserialize()
            self._copies.append(opened)
        self._has_context = True
        context = self._trt.create_execution_context(opened, scratch, library_graphs=library_graphs)
        if context is None:
            raise self._failed("no execution context can be made")
        return context

    @property
    def has_graphs(self) -> bool:
        """Whether the library can make CUDA graphs by itself."""
        return self._trt.has_graphs

    def is_capturable(self, context: Any, stream: Any) -> bool:
        """Whether what `context` gives to `stream` may become part of a CUDA graph, as far as the library can say."""
        return self._trt.is_capturable(context, stream)

    def bind(self, context: Any, rows: int, addresses: Mapping[str, int]) -> None:
        """Let `context` take `rows` images, every tensor at its address on the device."""
        for slot in self.slots.values():
            shaped = not slot.is_input or context.set_input_shape(slot.name, slot.of(rows))
            if not shaped or not context.set_tensor_address(slot.name, addresses[slot.name]):
                raise self._failed(f"{slot.name} of {counted(rows, 'image')} is refused")

    def execute(self, context: Any, stream: Any) -> None:
        """Enqueue the engine's work on `stream`."""
        if not context.execute_async_v3(int(stream)):
            raise self._failed("cannot be run")

    def close(self) -> None:
        """Give the engine back; its contexts must be gone."""
        self._opened = None
        self._copies = []

    def _checked_slots(self, graph: Graph) -> dict[str, Slot]:
        opened = self._opened
        found = {name: self._describe(name) for name in map(opened.get_tensor_name, range(opened.num_io_tensors))}
        recorded = {
            tensor.name: (what, tensor.dtype, tensor.shape[1:] if tensor.shape[0] == "batch" else tensor.shape)
            for what, tensors in (("INPUT", graph.inputs), ("OUTPUT", graph.outputs))
            for tensor in tensors
        }
        batched = {tensor.name for tensor in (*graph.inputs, *graph.outputs) if tensor.shape[0] == "batch"}
        slots = {}
        for name in sorted(found.keys() | recorded.keys()):
            mode, dtype, shape = found.get(name, ("", "", ()))
            row = shape[1:] if name in batched else shape
            # On a DLA tensors are half as wide; the host's side of them is converted.
            as_recorded = (
                "float32" if dtype == "float16" and recorded.get(name, ("", "", ()))[1] == "float32" else dtype
            )
            if recorded.get(name) != (mode, as_recorded, row):
                raise BackendError(
                    f"{self.path}: {name} is {_words(found.get(name))} where the manifest says "
                    f"{_words(recorded.get(name))}; build the engines again with edgemate build"
                )
            layout = str(opened.get_tensor_format(name).name)
            slots[name] = Slot(name, dtype, row, name in batched, mode == "INPUT", layout)
        return slots

    def _describe(self, name: str) -> tuple[str, str, tuple[int, ...]]:
        opened = self._opened
        dtype = opened.get_tensor_dtype(name).name
        return opened.get_tensor_mode(name).name, _DTYPES.get(dtype, dtype), tuple(opened.get_tensor_shape(name))

    def _batch_range(self, name: str) -> BatchRange:
        if not self.slots[name].batched:
            return BatchRange(1, 1, 1)
        fixed = self._opened.get_tensor_shape(name)[0]
        if fixed != -1:
            return BatchRange(fixed, fixed, fixed)
        return BatchRange(*(shape[0] for shape in self._opened.get_tensor_profile_shape(name, 0)))

    def _failed(self, what: str) -> BackendError:
        return BackendError(f"{self.path}: {what}: {self._trt.last_errors()}")


def _words(tensor: tuple[Any, ...] | None) -> str:
    return " ".join(map(str, tensor)).lower() if tensor else "absent"
