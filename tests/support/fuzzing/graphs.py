"""Mutations of ONNX graphs, through the onnx package, and of their bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from fuzzing.trees import broken

OPERATORS = [
    "Conv",
    "Relu",
    "Add",
    "Gemm",
    "MatMul",
    "Flatten",
    "Reshape",
    "Transpose",
    "Concat",
    "Slice",
    "Resize",
    "Softmax",
    "Cast",
    "Constant",
    "ConstantOfShape",
    "Expand",
    "Tile",
    "Pad",
    "Range",
    "Loop",
    "Scan",
    "If",
    "SequenceEmpty",
    "NonZero",
    "RandomNormal",
    "Einsum",
    "Where",
    "Shape",
    "Split",
    "Identity",
    "QuantizeLinear",
]


def mutated(content: bytes, random: Random) -> bytes:
    """The bytes of a model with one to three changes."""
    model = ModelProto.FromString(content)
    for _ in range(random.choice((1, 1, 2, 3))):
        with contextlib.suppress(IndexError):  # an earlier change has left nothing for this one
            random.choice(CHANGES)(model, random)
    found = model.SerializeToString()
    return broken(found, random) if random.random() < 0.15 else found


def _node(model: Any, random: Random) -> Any:
    return random.choice(model.graph.node) if model.graph.node else model.graph.node.add(op_type="Relu")


def _operator(model: Any, random: Random) -> None:
    _node(model, random).op_type = random.choice(OPERATORS)


def _wire(model: Any, random: Random) -> None:
    node, names = _node(model, random), [name for each in model.graph.node for name in each.output]
    side = random.choice((node.input, node.output))
    if side:
        side[random.randrange(len(side))] = random.choice([*names, "image", "logits_1", "", "none", "\x1b[31m", "a\nb"])


def _arity(model: Any, random: Random) -> None:
    node = _node(model, random)
    side = random.choice((node.input, node.output))
    if side and random.random() < 0.5:
        del side[-1]
    else:
        side.append(random.choice(("image", "more")))


def _attribute(model: Any, random: Random) -> None:
    node = _node(model, random)
    if node.attribute and random.random() < 0.7:
        attribute = random.choice(node.attribute)
        if attribute.ints:
            attribute.ints[random.randrange(len(attribute.ints))] = random.choice((-1, 0, 3, 1000, 2**31, 2**62))
        elif random.random() < 0.5:
            attribute.type = random.choice((1, 2, 3, 4, 5, 6, 7, 10))
        else:
            attribute.name = random.choice(("pads", "axis", "value", "body"))
    else:
        node.attribute.append(
            helper.make_attribute(random.choice(("axis", "to", "x")), random.choice((1, -9, 2.5, "s")))
        )


def _shape(model: Any, random: Random) -> None:
    value = random.choice([*model.graph.input, *model.graph.output])
    kind = random.randrange(4)
    if kind == 0:
        value.type.tensor_type.ClearField("shape")
    elif kind == 1:
        value.type.tensor_type.elem_type = random.choice((0, 1, 6, 7, 8, 9, 10, 11, 99))
    elif kind == 2:
        value.type.tensor_type.shape.dim.add(dim_value=random.choice((0, 1, 2**40, -1)))
    elif value.type.tensor_type.shape.dim:
        random.choice(value.type.tensor_type.shape.dim).dim_value = random.choice((0, 1, 7, 2**40, -1))


def _tensor(model: Any, random: Random) -> None:
    tensors = [a.t for node in model.graph.node for a in node.attribute if a.HasField("t")] + list(
        model.graph.initializer
    )
    if not tensors:
        return
    tensor = random.choice(tensors)
    kind = random.randrange(5)
    if kind == 0 and tensor.dims:
        tensor.dims[random.randrange(len(tensor.dims))] = random.choice((0, 1, 3, -1, 2**40))
    elif kind == 1:
        tensor.data_type = random.choice((0, 1, 6, 7, 8, 9, 10, 11, 99))
    elif kind == 2:
        tensor.raw_data = tensor.raw_data[: random.randrange(len(tensor.raw_data) + 1)]
    elif kind == 3:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(
            key="location", value=random.choice(("/etc/passwd", "../x", "bundle.json", "/dev/zero"))
        )
    else:
        values = np.frombuffer(tensor.raw_data, np.uint8).copy()
        values[: random.randrange(len(values) + 1)] = 0xFF  # NaN
        tensor.raw_data = values.tobytes()


def _grow(model: Any, random: Random) -> None:
    """A node that makes something large or of another shape of what the graph gives."""
    shape = random.choice(([1 << 16, 1 << 16], [1 << 40], [0], [-5], [2, 2], [1 << 26]))
    output = random.choice(model.graph.output).name
    for node in model.graph.node:
        for i, name in enumerate(node.output):
            node.output[i] = "before" if name == output else name
    shaped = helper.make_node("Constant", [], ["shape"], value=numpy_helper.from_array(np.array(shape, np.int64)))
    operator = random.choice(("Expand", "Reshape", "Tile", "ConstantOfShape"))
    takes = ["shape"] if operator == "ConstantOfShape" else ["before", "shape"]
    model.graph.node.extend([shaped, helper.make_node(operator, takes, [output])])


def _model(model: Any, random: Random) -> None:
    kind = random.randrange(6)
    if kind == 0:
        model.ir_version = random.choice((0, 1, 8, 99, 2**40))
    elif kind == 1:
        model.opset_import[0].version = random.choice((0, 1, 11, 18, 99, 2**40))
    elif kind == 2:
        model.opset_import.add(domain=random.choice(("com.microsoft", "x", "ai.onnx")), version=1)
    elif kind == 3:
        model.functions.add(name="Relu", domain="")
    elif kind == 4:
        model.graph.node.insert(0, helper.make_node("Relu", ["logits_1"], ["again"]))
    else:
        _node(model, random).domain = random.choice(("com.microsoft", "ai.onnx", "x"))


def _drop(model: Any, random: Random) -> None:
    part = random.choice((model.graph.node, model.graph.input, model.graph.output))
    if part:
        del part[random.randrange(len(part))]


CHANGES: tuple[Callable[[Any, Random], None], ...] = (
    _operator,
    _wire,
    _arity,
    _attribute,
    _shape,
    _tensor,
    _tensor,
    _grow,
    _model,
    _drop,
)
