"""How the tensors between two engines lie in memory: as both engines want them, so that neither reorders them.

Convolutions on Tensor Cores read float16 with the channels of a place together, eight at a time (HWC8), and int8 in
blocks of 32 channels (CHW32). A linear tensor is reordered first, by a kernel of its own on each side of the cut.
Both engines are built for the same format, since each would choose its own of several. It is asked for only where the
channels fill it, so that a row has the same size in every format, and images can leave a batch by copies of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgemate.errors import BackendError
from edgemate.runtime.backends.tensorrt.options import BuildOptions

if TYPE_CHECKING:
    from edgemate.runtime.backends.tensorrt.compat import TensorRT
    from edgemate.runtime.backends.tensorrt.engine import Engine

LINEAR = "LINEAR"
# TensorRT's name of a type → the format of feature maps, and how many channels it holds together.
_VECTORS = {"HALF": ("HWC8", 8), "INT8": ("CHW32", 32)}


def feature_format(dtype: str, shape: Sequence[int]) -> str:
    """The name of the format that a tensor between two engines has.

    Args:
        dtype: TensorRT's name of its type.
        shape: its shape, batch first.
    """
    name, channels = _VECTORS.get(dtype, (LINEAR, 1))
    return name if len(shape) == 4 and shape[1] % channels == 0 else LINEAR


def set_formats(trt: TensorRT, network: Any, options: BuildOptions) -> None:
    """Ask for the formats of a network's inputs and outputs. Images and logits are float32, and so stay linear.

    A DLA has formats of its own and keeps the linear one outside.
    """
    if options.dla_core is not None:
        return
    tensors = [network.get_input(index) for index in range(network.num_inputs)]
    tensors += [network.get_output(index) for index in range(network.num_outputs)]
    for tensor in tensors:
        name = feature_format(tensor.dtype.name, tuple(tensor.shape))
        if name != LINEAR:
            tensor.allowed_formats = 1 << int(getattr(trt.module.TensorFormat, name))


def check_formats(engines: Sequence[Engine]) -> None:
    """Check that every engine takes a tensor in the format in which one before it gives it, and all others linear.

    Raises:
        BackendError: it does not; the message names both engines.
    """
    given: dict[str, Engine] = {}
    taken = {slot.name for engine in engines for slot in engine.slots.values() if slot.is_input}
    for engine in engines:
        for slot in engine.slots.values():
            maker = given.get(slot.name) if slot.is_input else None
            if maker is not None and (slot.format, slot.dtype) != _made(maker, slot.name):
                wanted, dtype = _made(maker, slot.name)
                raise BackendError(
                    f"{engine.path}: takes {slot.name} as {slot.dtype} {slot.format} where {maker.path.name} gives "
                    f"{dtype} {wanted}; build the engines again with edgemate build"
                )
            is_inside = maker is not None or (not slot.is_input and slot.name in taken)
            if slot.format != LINEAR and not is_inside:
                raise BackendError(
                    f"{engine.path}: has {slot.name} as {slot.format} where the host reads and writes linear tensors; "
                    "build the engines again with edgemate build"
                )
        given |= {slot.name: engine for slot in engine.slots.values() if not slot.is_input}


def _made(engine: Engine, name: str) -> tuple[str, str]:
    slot = engine.slots[name]
    return slot.format, slot.dtype
