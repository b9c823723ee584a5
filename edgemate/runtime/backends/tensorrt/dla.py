"""What a Deep Learning Accelerator asks of a graph: float16 from its input to its output, and no Q/DQ.

From NVIDIA's "Working with DLA" and public threads; not run on a DLA yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgemate.errors import BackendError

if TYPE_CHECKING:
    from edgemate.runtime.backends.tensorrt.compat import TensorRT


def check_dla_precision(precision: str) -> None:
    """BackendError where a DLA cannot compute a bundle's precision as its graphs write it."""
    if "int8" in precision:
        raise BackendError(
            f"use_dla_core: this bundle's {precision} is written as Q/DQ, which no DLA takes; export it in fp16"
        )
    if precision != "fp16":
        raise BackendError(f"use_dla_core: a DLA computes in fp16, and this bundle is {precision}; export it in fp16")


def take_and_give_fp16(trt: TensorRT, network: Any) -> None:
    """Let a parsed network take and give float16 where its graph only casts that from and to float32.

    A DLA cannot cast: without GPU fallback the first cast fails the build, and with it each is a round trip over the
    GPU. So the casts are bypassed. The runner converts what the host gives and takes instead.
    """
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    for tensor in [network.get_input(index) for index in range(network.num_inputs)]:
        _bypass_after(trt, network, layers, tensor)
    for tensor in [network.get_output(index) for index in range(network.num_outputs)]:
        _bypass_before(trt, network, layers, tensor)


def _bypass_after(trt: TensorRT, network: Any, layers: list[Any], tensor: Any) -> None:
    half = trt.module.DataType.HALF
    takers = [layer for layer, _ in _uses(layers, tensor.name)]
    if tensor.dtype == half or not takers or not all(_casts_to(trt, layer, half) for layer in takers):
        return
    # Another input in its place, since from 11.0 on the type of a tensor cannot be changed.
    name, shape = tensor.name, tensor.shape
    tensor.name = f"{name} (fp32)"
    given = network.add_input(name, half, shape)
    for cast in takers:
        for layer, index in _uses(layers, cast.get_output(0).name):
            layer.set_input(index, given)
        cast.set_input(0, given)  # it is used no more, and nothing uses the former input
    network.remove_tensor(tensor)


def _bypass_before(trt: TensorRT, network: Any, layers: list[Any], tensor: Any) -> None:
    half, single = trt.module.DataType.HALF, trt.module.DataType.FLOAT
    maker = next((layer for layer in layers if tensor.name in _outputs(layer)), None)
    if maker is None or not _casts_to(trt, maker, single) or _uses(layers, tensor.name):
        return
    source, name = maker.get_input(0), tensor.name
    if source.is_network_input or source.is_network_output:
        return
    network.unmark_output(tensor)
    tensor.name = f"{name} (fp32)"
    source.name = name
    network.mark_output(source)
    if source.dtype != half:  # where flags say the precision, an output is fp32 unless told otherwise
        source.dtype = half


def _casts_to(trt: TensorRT, layer: Any, dtype: Any) -> bool:
    return layer.type in trt.cast_types and layer.get_output(0).dtype == dtype


def _uses(layers: list[Any], name: str) -> list[tuple[Any, int]]:
    return [
        (layer, index)
        for layer in layers
        for index in range(layer.num_inputs)
        if (tensor := layer.get_input(index)) is not None and tensor.name == name
    ]


def _outputs(layer: Any) -> list[str]:
    return [layer.get_output(index).name for index in range(layer.num_outputs)]
