"""Graphs that take uint8 pixels: normalization, and for frames of one size resize and crop, in front of the network.

The nodes are those of `runtime/preprocessing.py`, in its order and in float32, whatever the graph's precision. They
come last in an export, so that no conversion touches them. TensorRT allows nothing but a conversion of a uint8 input,
so the Cast is first.

A resize by PIL is a weighted sum over rows and one over columns, each rounded to whole levels. With sizes that are
fixed, both are products with constant matrices, as is a crop, which leaves out rows of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from PIL import Image
from pydantic import ValidationError

from edgemate.bundle import Graph, InputContract
from edgemate.core.resizing import RESAMPLING, resized_size
from edgemate.errors import ExportError
from edgemate.exporting.exported_graph import ExportedGraph

Float = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

PREFIX = "prepare."
# Normalized pixels are below 10 in size, so this is far below what moves a logit, and above float32's rounding.
_SAME = 1e-4

FRAME_DIFFERENCE = 0.01
"""Least limit on the difference of logits where graphs resize frames, as in `Limits`: a pixel may be a level off."""


def uint8_contract(contract: InputContract, frame: tuple[int, int] | None = None) -> InputContract:
    """The contract of graphs that take pixels, or with `frame` frames of that (height, width).

    Raises:
        ExportError: the frame cannot be used.
    """
    try:
        return InputContract.model_validate(
            {**contract.model_dump(), "dtype": "uint8", "layout": "NHWC", "frame": frame}
        )
    except ValidationError as error:
        raise ExportError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error


def with_uint8_input(proto: ModelProto, graph: Graph, contract: InputContract) -> ExportedGraph:
    """A graph that takes `image` as the contract says, made from one that takes it as float32 (N, C, H, W).

    A graph that does not take `image` stays as it is.

    Args:
        proto: the graph, in any precision; it is not changed.
        graph: its entry in the manifest.
        contract: from `uint8_contract`.
    """
    changed = ModelProto()
    changed.CopyFrom(proto)
    given = [value for value in changed.graph.input if value.name == contract.name]
    if not given:
        return ExportedGraph(graph, changed)
    ready = f"{PREFIX}{contract.name}"
    _rename(changed.graph, contract.name, ready)
    nodes, constants = _preparation(contract, ready)
    rest = list(changed.graph.node)
    del changed.graph.node[:]
    changed.graph.node.extend([*nodes, *rest])
    changed.graph.initializer.extend(constants)
    tensor = given[0].type.tensor_type
    batch = tensor.shape.dim[0].dim_param or tensor.shape.dim[0].dim_value
    shape = [batch, *contract.shape(1)[1:]]
    given[0].CopyFrom(helper.make_tensor_value_info(contract.name, TensorProto.UINT8, shape))
    inputs = tuple(
        tensor.model_copy(update={"dtype": "uint8", "shape": (tensor.shape[0], *contract.shape(1)[1:])})
        if tensor.name == contract.name
        else tensor
        for tensor in graph.inputs
    )
    return ExportedGraph(graph.model_copy(update={"inputs": inputs}), changed)


def pixels_of(images: Float, contract: InputContract) -> Pixels:
    """The pixels (N, H, W, C) that were normalized to these images (N, C, H, W).

    Raises:
        ExportError: they are not of 8 bits.
    """
    mean, std = (np.array(each, np.float32)[:, None, None] for each in (contract.mean, contract.std))
    scale = np.float32(1 / contract.divisor)
    pixels = ((images * std + mean) * contract.divisor).round().clip(0, 255).astype(np.uint8)
    again = (pixels.astype(np.float32) * scale - mean) / std
    if np.abs(again - images).max(initial=0) > _SAME:
        raise ExportError(
            "input uint8: the golden images of the run are not of 8 bits a pixel, so the graphs cannot be checked; "
            "export with input float32"
        )
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))


def frames_of(pixels: Pixels, contract: InputContract) -> Pixels:
    """These images (N, H, W, C) enlarged to the contract's frames (N, height, width, C), by PIL's bicubic filter."""
    assert contract.frame is not None
    size = contract.frame[::-1]
    frames = []
    for image in pixels:
        plain = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
        frames.append(np.asarray(plain.resize(size, Image.Resampling.BICUBIC)).reshape(*contract.shape(1)[1:]))
    return np.stack(frames)


def _preparation(contract: InputContract, ready: str) -> tuple[list[NodeProto], list[TensorProto]]:
    """Nodes from the uint8 input to the float32 tensor `ready` (N, C, H, W), and their constants."""
    nodes: list[NodeProto] = []
    constants: list[TensorProto] = []
    last: str = contract.name

    def add(operator: str, name: str, *values: npt.NDArray[Any], first: int = 0, **attributes: Any) -> None:
        """Append a node on the last tensor, which is its input `first`, with constants as the other inputs."""
        nonlocal last
        inputs = []
        for number, value in enumerate(values):
            constant = f"{PREFIX}{name}.{number}"
            constants.append(numpy_helper.from_array(np.asarray(value), constant))
            inputs.append(constant)
        inputs.insert(first, last)
        last = ready if name == "divided" else f"{PREFIX}{name}"
        nodes.append(helper.make_node(operator, inputs, [last], f"{PREFIX}{name}_node", **attributes))

    add("Cast", "float", to=TensorProto.FLOAT)
    if contract.frame is not None:
        by_height, by_width = resize_matrices(contract)
        rows, columns = _used(by_height), _used(by_width)
        area = ([rows.start, columns.start], [rows.stop, columns.stop], [1, 2])
        add("Slice", "used", *(np.array(each, np.int64) for each in area))
        add("Transpose", "planes", perm=[0, 3, 1, 2])
        # As PIL does: columns first, and whole levels in between.
        add("MatMul", "across", np.ascontiguousarray(by_width[:, columns].T))
        _round_levels(add, "across")
        add("MatMul", "down", np.ascontiguousarray(by_height[:, rows]), first=1)
        _round_levels(add, "down")
    else:
        add("Transpose", "planes", perm=[0, 3, 1, 2])
    shaped = (np.array(each, np.float32)[None, :, None, None] for each in (contract.mean, contract.std))
    add("Mul", "scaled", np.array(1 / contract.divisor, np.float32))
    add("Sub", "centered", next(shaped))
    add("Div", "divided", next(shaped))
    return nodes, constants


def _round_levels(add: Callable[..., None], name: str) -> None:
    """Round to whole levels of 0 to 255, a half up."""
    add("Add", f"{name}_half", np.array(0.5, np.float32))
    add("Floor", f"{name}_whole")
    add("Clip", f"{name}_levels", np.array(0, np.float32), np.array(255, np.float32))


def resize_matrices(contract: InputContract) -> tuple[Float, Float]:
    """The resize and crop of frames as matrices: (height, frame height) for columns of pixels, (width, frame width).

    A row of zeros is black, where the crop pads.
    """
    assert contract.frame is not None
    frame, size, method = contract.frame, contract.frame, "bilinear"
    if contract.resize is not None:
        size, method = resized_size(*frame, contract.resize), contract.resize.interpolation
    crop = contract.center_crop or size
    made = [_matrix(frame[axis], size[axis], crop[axis], method) for axis in (0, 1)]
    return made[0], made[1]


def _matrix(given: int, resized: int, kept: int, method: str) -> Float:
    """(kept, given): PIL's weights of one direction, found by resizing unit vectors."""
    matrix = np.zeros((resized, given), np.float32)
    if given == resized:
        np.fill_diagonal(matrix, 1)
    else:
        # A float image is resized without rounding. Unit vectors stacked as rows: every row is resized by itself.
        for start in range(0, given, 256):
            units = np.zeros((min(256, given - start), given), np.float32)
            units[np.arange(len(units)), start + np.arange(len(units))] = 1
            rows = Image.fromarray(units).resize((resized, len(units)), RESAMPLING[method])
            matrix[:, start : start + len(units)] = np.asarray(rows).T
    missing = max(kept - resized, 0)
    if missing:  # padded on the left first, as `center_crop` does
        matrix = np.pad(matrix, ((missing // 2, missing - missing // 2), (0, 0)))
    first = round((len(matrix) - kept) / 2)
    return matrix[first : first + kept]


def _used(matrix: Float) -> slice:
    """From the first to the last pixel that has a weight."""
    columns = np.flatnonzero(matrix.any(axis=0))
    return slice(int(columns[0]), int(columns[-1]) + 1)


def _rename(graph: GraphProto, old: str, new: str) -> None:
    """Let every node read `new` instead of `old`, those of branches too."""
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g, old, new)


def memory_limited(frames: Sequence[int], count: int, most: int = 64 << 20) -> int:
    """How many of `count` frames of this shape fit into `most` bytes, at least one."""
    return max(1, min(count, most // int(np.prod(frames))))
