"""Tensors in device memory and in pinned host memory, and how images that have stopped leave them."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.errors import BackendError
from edgemate.runtime.backends.tensorrt.cuda import Cuda


@dataclass(frozen=True)
class DeviceTensor:
    """Rows of `row_bytes` each, one per image, one after another from `address`."""

    address: int
    row_bytes: int


@dataclass(frozen=True, eq=False)
class PinnedTensor:
    """Host memory that the device copies from or to by itself; `array` is that memory, `address` where it starts."""

    address: int
    array: npt.NDArray[Any]


class Memory:
    """Allocates, and frees all of it at once."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._device: list[int] = []
        self._pinned: list[int] = []

    def scratch(self, size: int) -> int:
        """The address of `size` bytes on the device."""
        address = self._cuda.allocate(max(size, 1))
        self._device.append(address)
        return address

    def tensor(self, rows: int, row_bytes: int) -> DeviceTensor:
        """Room for `rows` rows on the device, of whatever was there before."""
        return DeviceTensor(self.scratch(rows * row_bytes), row_bytes)

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> PinnedTensor:
        """A zeroed pinned array; it must not be read or written after `free`."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address = self._cuda.allocate_pinned(max(size, 1))
        self._pinned.append(address)
        return PinnedTensor(address, _array(address, shape, dtype))

    def shared(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> tuple[PinnedTensor, DeviceTensor]:
        """A zeroed array that host and device both work in, so nothing is copied: the same place, for each.

        Where both have one memory that costs nothing. Elsewhere every access of the device crosses the bus.
        """
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address, device = self._cuda.allocate_mapped(max(size, 1))
        self._pinned.append(address)
        return PinnedTensor(address, _array(address, shape, dtype)), DeviceTensor(device, size // shape[0])

    def free(self) -> None:
        """Give everything back; the device must be done with it."""
        while self._device:
            self._cuda.free(self._device.pop())
        while self._pinned:
            self._cuda.free_pinned(self._pinned.pop())


def compact(cuda: Cuda, tensors: Sequence[DeviceTensor], kept: npt.NDArray[np.intp], stream: Any) -> None:
    """Move the rows `kept` of every tensor to the front, in place and in the stream's order."""
    for source, to, rows in moves(kept):
        for tensor in tensors:
            size = tensor.row_bytes
            cuda.move(tensor.address + to * size, tensor.address + source * size, rows * size, stream)


def moves(kept: npt.NDArray[np.intp]) -> Iterator[tuple[int, int, int]]:
    """The copies `(from row, to row, rows)` that bring rows `kept`, ascending, to the front, to be done in this order.

    No copy overlaps itself, which the device would not forgive, and none overwrites a row that is still to be copied,
    since a row only ever moves forward, to a place whose own row has left or has been copied before.

    Raises:
        BackendError: `kept` does not ascend.
    """
    rows = kept.tolist()
    if any(later <= earlier for earlier, later in itertools.pairwise(rows)):
        raise BackendError(f"rows to keep must ascend, not {rows}")
    to = 0
    while to < len(rows):
        source = rows[to]
        gap = source - to
        length = 1
        while to + length < len(rows) and rows[to + length] == source + length and (not gap or length < gap):
            length += 1
        if gap:
            yield source, to, length
        to += length


def _array(address: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = memoryview((ctypes.c_uint8 * size).from_address(address))
    array: npt.NDArray[Any] = np.frombuffer(memory, dtype=np.dtype(dtype)).reshape(shape)
    array.fill(0)
    return array
