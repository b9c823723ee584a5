"""What an ONNX file computes, checked before a library loads it: operators that export writes, and no other files.

An ONNX file is a program. Loops need not end, functions can hide what a graph does, arrays can be in files outside of
the bundle, and operators of other domains may be anything. None of it is needed to run a network.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from edgemate.errors import BundleError
from edgemate.limits import GRAPH_BYTES, GRAPH_DEPTH, GRAPH_FIELDS
from edgemate.runtime.backends.operators import DOMAINS, OPERATORS
from edgemate.runtime.backends.protobuf import MESSAGE, Field, Message

# Fields of the messages in onnx.proto.
_MODEL_GRAPH, _MODEL_OPSET, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 8, 20, 25
_OPSET_DOMAIN = 1
_GRAPH_NODE, _GRAPH_NAME, _GRAPH_INITIALIZER, _GRAPH_VALUES, _GRAPH_SPARSE = 1, 2, 5, (11, 12, 13), 15
_VALUE_NAME = 1
_NODE_NAMES, _NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN, _NODE_OVERLOAD = (1, 2, 3), 4, 5, 7, 8
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_ATTRIBUTE_REFERENCE, _ATTRIBUTE_SPARSE = 21, (22, 23)
_TENSOR_TYPE, _TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 2, 8, 13, 14
_STRING = 8  # of TensorProto.DataType


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
                self._graph(field, 1)
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

    def _graph(self, message: Field, depth: int) -> None:
        if depth > GRAPH_DEPTH.most:
            raise ValueError(f"has graphs within graphs, {GRAPH_DEPTH.exceeded()}")
        for field in self._inside(message):
            if field.number == _GRAPH_NODE:
                self._node(field, depth)
            elif field.number == _GRAPH_INITIALIZER:
                self._tensor(field)
            elif field.number == _GRAPH_NAME:
                self._text(field)
            elif field.number in _GRAPH_VALUES:
                self._value(field)
            elif field.number == _GRAPH_SPARSE:
                raise ValueError("has sparse arrays")

    def _node(self, message: Field, depth: int) -> None:
        operators, attributes = [], []
        for field in self._inside(message):
            if field.number == _NODE_OPERATOR:
                operators.append(self._text(field))
            elif field.number in _NODE_NAMES:
                self._text(field)
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
        for attribute in attributes:
            self._attribute(attribute, operator, depth)

    def _attribute(self, message: Field, operator: str, depth: int) -> None:
        for field in self._inside(message):
            if field.number == _ATTRIBUTE_GRAPH:
                if operator != "If":
                    raise ValueError(f"has a graph within the operator {operator!r}")
                self._graph(field, depth + 1)
            elif field.number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                self._tensor(field)
            elif field.number == _ATTRIBUTE_GRAPHS:
                raise ValueError(f"has graphs within the operator {operator!r}")
            elif field.number == _ATTRIBUTE_REFERENCE or field.number in _ATTRIBUTE_SPARSE:
                raise ValueError(f"has an attribute of the operator {operator!r} that export does not write")

    def _tensor(self, message: Field) -> None:
        for field in self._inside(message):
            if field.number == _TENSOR_EXTERNAL or (field.number == _TENSOR_LOCATION and field.value):
                raise ValueError("has arrays in other files")
            if field.number == _TENSOR_TYPE and field.value == _STRING:
                raise ValueError("has arrays of text")
            if field.number == _TENSOR_NAME:
                self._text(field)

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
