"""What an ONNX file computes, checked before a library loads it: operators that export writes, and no other files.

An ONNX file is a program. Loops need not end, functions can hide what a graph does, arrays can be in files outside of
the bundle, and operators of other domains may be anything. None of it is needed to run a network.
"""

from __future__ import annotations

import itertools
import math
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edgemate.bundle.onnx_tensor import Numbers, read_floats, read_tensor
from edgemate.bundle.operators import DOMAINS, OPERATORS
from edgemate.bundle.protobuf import MESSAGE, Field, Message
from edgemate.errors import BundleError
from edgemate.limits import GRAPH_ATTRIBUTE, GRAPH_BYTES, GRAPH_DEPTH, GRAPH_FIELDS, GRAPH_VALUES

# Fields of the messages in onnx.proto.
_MODEL_GRAPH, _MODEL_OPSET, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 8, 20, 25
_OPSET_DOMAIN = 1
_GRAPH_NODE, _GRAPH_NAME, _GRAPH_INITIALIZER, _GRAPH_VALUES, _GRAPH_SPARSE = 1, 2, 5, (11, 12, 13), 15
_VALUE_NAME = 1
_NODE_NAMES, _NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN, _NODE_OVERLOAD = (1, 2, 3), 4, 5, 7, 8
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_ATTRIBUTE_REFERENCE, _ATTRIBUTE_SPARSE = 21, (22, 23)
_ATTRIBUTE_FLOATS, _ATTRIBUTE_INTEGERS = (2, 7), (3, 8)
_NODE_INPUT, _NODE_NAME = 1, 3
# Operator → inputs that say how large what it makes is.
_SIZES = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "OneHot": (1,),
    "Pad": (1,),
    "Range": (0, 1, 2),
    "Resize": (2, 3),
    "Tile": (1,),
}


def check_graph(path: Path, *, branches: bool) -> None:
    """Check that an ONNX file has only what export writes.

    Args:
        path: the file.
        branches: `If` is allowed, as in the conditional graph.

    Raises:
        BundleError: it has not, is not an ONNX file, or is beyond a limit; the message says what was found.
    """
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            if not size:
                raise ValueError("is empty")
            GRAPH_BYTES.check(size)
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                _Check(Message(content, GRAPH_FIELDS.most), branches).model()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BundleError(f"{path}: not a graph that edgemate exports: {error}") from error


class _Made(NamedTuple):
    """Of a node: what it makes with which size, as operator and name of the size, and the graphs in it."""

    sizes: list[tuple[str, str]]
    graphs: list[Field]


class _Attribute(NamedTuple):
    """Of an attribute: the graphs in it, and its numbers; None if they are not read, as those of weights."""

    graphs: list[Field]
    numbers: Numbers | None


class _Check:
    """Walks a model; every method raises ValueError."""

    def __init__(self, message: Message, branches: bool) -> None:
        self._message = message
        self._branches = branches

    def model(self) -> None:
        graphs = 0
        for field in self._message.fields(0, len(self._message)):
            if field.number == _MODEL_GRAPH:
                graphs += 1
                self._graph(field, 1, {})
            elif field.number == _MODEL_OPSET:
                self._opset(field)
            elif field.number in (_MODEL_FUNCTIONS, _MODEL_TRAINING):
                raise ValueError("has functions" if field.number == _MODEL_FUNCTIONS else "has a training graph")
        if graphs != 1:
            raise ValueError(f"has {graphs} graphs; 1 is required")

    def _opset(self, message: Field) -> None:
        for field in self._inside(message):
            if field.number == _OPSET_DOMAIN:
                self._domain(field)

    def _graph(self, message: Field, depth: int, outside: dict[str, Numbers | None]) -> None:
        if depth > GRAPH_DEPTH.most:
            raise ValueError(f"has graphs within graphs, {GRAPH_DEPTH.exceeded()}")
        constants, sizes, inner = dict(outside), [], []
        for field in self._inside(message):
            if field.number == _GRAPH_NODE:
                made = self._node(field, constants)
                sizes += made.sizes
                inner += made.graphs
            elif field.number == _GRAPH_INITIALIZER:
                tensor = read_tensor(self._message, field)
                constants[tensor.name] = tensor.numbers
            elif field.number == _GRAPH_NAME:
                self._text(field)
            elif field.number in _GRAPH_VALUES:
                self._value(field)
            elif field.number == _GRAPH_SPARSE:
                raise ValueError("has sparse arrays")
        for operator, name in sizes:
            _check_size(operator, constants.get(name, ()))
        for graph in inner:  # which see the constants of this one
            self._graph(graph, depth + 1, constants)

    def _node(self, message: Field, constants: dict[str, Numbers | None]) -> _Made:
        operators, attributes = [], []
        inputs: list[str] = []
        outputs: list[str] = []
        for field in self._inside(message):
            if field.number == _NODE_OPERATOR:
                operators.append(self._text(field))
            elif field.number in _NODE_NAMES:
                name = self._text(field)
                if field.number != _NODE_NAME:
                    (inputs if field.number == _NODE_INPUT else outputs).append(name)
            elif field.number == _NODE_ATTRIBUTE:
                attributes.append(field)
            elif field.number == _NODE_DOMAIN:
                self._domain(field)
            elif field.number == _NODE_OVERLOAD and field.stop > field.start:
                raise ValueError("has an overloaded operator")
        if len(operators) != 1:
            raise ValueError(f"has a node with {len(operators)} operators; 1 is required")
        [operator] = operators
        if operator == "If":
            if not self._branches:
                raise ValueError("has an If, which only the conditional graph needs")
        elif operator not in OPERATORS:
            raise ValueError(f"has the operator {operator!r}, which export does not write")
        graphs = []
        numbers: Numbers | None = ()
        for attribute in attributes:
            found = self._attribute(attribute, operator)
            graphs += found.graphs
            numbers = None if numbers is None or found.numbers is None else numbers + found.numbers
        if operator == "Constant" and outputs:
            constants[outputs[0]] = numbers
        sized = [inputs[i] for i in _SIZES.get(operator, ()) if i < len(inputs)]
        return _Made([(operator, name) for name in sized], graphs)

    def _attribute(self, message: Field, operator: str) -> _Attribute:
        graphs: list[Field] = []
        numbers: list[int] = []
        floats: list[Field] = []
        arrays: list[Numbers | None] = []
        for field in self._inside(message):
            if field.number == _ATTRIBUTE_GRAPH:
                if operator != "If":
                    raise ValueError(f"has a graph within the operator {operator!r}")
                graphs.append(field)
            elif field.number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                arrays.append(read_tensor(self._message, field).numbers)
            elif field.number == _ATTRIBUTE_GRAPHS:
                raise ValueError(f"has graphs within the operator {operator!r}")
            elif field.number == _ATTRIBUTE_REFERENCE or field.number in _ATTRIBUTE_SPARSE:
                raise ValueError(f"has an attribute of the operator {operator!r} that export does not write")
            elif field.number in _ATTRIBUTE_INTEGERS:
                numbers += self._message.integers(field)
            elif field.number in _ATTRIBUTE_FLOATS and operator == "Constant":
                floats.append(field)
        if operator != "Constant" and any(abs(number) > GRAPH_ATTRIBUTE.most for number in numbers):
            raise ValueError(
                f"has the operator {operator!r} with the number {max(numbers, key=abs):,}; the limit is "
                f"{GRAPH_ATTRIBUTE.most:,}"
            )
        arrays.append(read_floats(self._message, floats))
        if None in arrays:
            return _Attribute(graphs, None)
        return _Attribute(graphs, (*numbers, *itertools.chain.from_iterable(filter(None, arrays))))

    def _value(self, message: Field) -> None:
        for field in self._inside(message):
            if field.number == _VALUE_NAME:
                self._text(field)

    def _domain(self, field: Field) -> None:
        domain = self._text(field)
        if domain not in DOMAINS:
            raise ValueError(f"has operators of the domain {domain!r}, which export does not use")

    def _text(self, field: Field) -> str:
        # ONNX Runtime writes to standard output where a name is not UTF-8.
        if field.kind != MESSAGE:
            raise ValueError("has a name that is a number")
        return self._message.text(field)

    def _inside(self, message: Field) -> Iterator[Field]:
        if message.kind != MESSAGE:
            raise ValueError("has a number where a message is required")
        return self._message.fields(message.start, message.stop)


def _check_size(operator: str, sizes: Numbers | None) -> None:
    """Raise ValueError where an operator makes more values than the limit of these sizes alone, or they are unread."""
    if sizes is None:
        raise ValueError(f"has the operator {operator!r} with a size that is no array of at most 64 real numbers")
    values = 1.0
    for size in sizes:
        size = abs(size)
        if operator == "Range" and 0 < size < 1:  # a small step
            size = 1 / size
        values *= max(size, 1.0)
    if not values <= GRAPH_VALUES.most:  # NaN too
        shown = f"{values:.3g}" if math.isfinite(values) else "endless"
        raise ValueError(f"has the operator {operator!r} with {shown} values; the limit is {GRAPH_VALUES.most:,}")
