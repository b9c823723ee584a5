"""Removes from a traced graph everything that depends on the shape of a tensor.

A network's code asks for sizes (`b, c, h, w = x.shape`) and computes with them. The image size of a recipe is fixed, so
every such number is either a constant or a multiple of the batch size. Two runs with different batch sizes tell which.
Without these nodes, only tensors pass from one part of the graph to the next.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from edgemate.errors import UsageError

BATCHES = (2, 3)
_DROPOUTS = {F.dropout: nn.Dropout, torch.dropout: nn.Dropout, F.dropout2d: nn.Dropout2d}


@dataclass(frozen=True)
class TensorShape:
    """The shape of a tensor in each of the two runs."""

    first: tuple[int, ...]
    second: tuple[int, ...]
    dtype: torch.dtype

    @property
    def per_image(self) -> tuple[int, ...] | None:
        """The shape without the batch, where that is the first dimension and the only one that grows with it."""
        sizes = (self.first[:1], self.second[:1])
        return self.first[1:] if sizes == ((BATCHES[0],), (BATCHES[1],)) and self.first[1:] == self.second[1:] else None


SHAPE = "shape"
"""Key of `Node.meta`: `TensorShape` of a tensor; absent for a tuple of tensors."""
MULTIPLE = "multiple_of_batch"
"""Key of `Node.meta`: k for a node that is k times the batch size."""


def flatten(graph: fx.GraphModule, name: str, image_shape: Sequence[int]) -> fx.GraphModule:
    """The graph for images of one size, with tensors and multiples of the batch size only.

    Args:
        graph: as `trace` returns it, in evaluation mode. Its modules are shared with the result.
        name: what messages call the network.
        image_shape: (C, H, W).

    Returns:
        A graph that takes and returns the same; every tensor node has `SHAPE` in its metadata.

    Raises:
        UsageError: the network cannot take such images, or its output is not one tensor (N, classes).
    """
    device = next((parameter.device for parameter in graph.parameters()), torch.device("cpu"))
    first, second = (_run(graph, name, batch, image_shape, device) for batch in BATCHES)
    flat = _Flattened(graph, name, first, second)
    return flat.result()


class _Flattened:
    """Builds the new graph node by node."""

    def __init__(self, graph: fx.GraphModule, name: str, first: dict[str, Any], second: dict[str, Any]) -> None:
        self._source, self._name, self._first, self._second = graph, name, first, second
        self._new = fx.Graph()
        self._nodes: dict[fx.Node, Any] = {}
        self._image: fx.Node | None = None
        self._batch: fx.Node | None = None
        self._multiples: dict[int, fx.Node] = {}
        self._dropouts = 0

    def result(self) -> fx.GraphModule:
        for node in self._source.graph.nodes:
            self._nodes[node] = self._copied(node)
        module = fx.GraphModule(self._source, self._new)
        module.graph.eliminate_dead_code()
        module.recompile()
        return module

    def _copied(self, node: fx.Node) -> Any:
        if node.op == "output":
            returned = node.args[0]
            logits = self._nodes[returned] if isinstance(returned, fx.Node) else None
            shape = logits.meta.get(SHAPE) if isinstance(logits, fx.Node) else None
            if shape is None or shape.per_image is None or len(shape.per_image) != 1:
                raise UsageError(f"{self._name} does not return one tensor of logits (N, classes); exits need that")
            return self._new.output(logits)
        if node.op == "placeholder" and self._image is not None:
            return node.args[0] if node.args else None  # an argument that has a default
        first, second = self._first[node.name], self._second[node.name]
        if not _has_tensor(first):
            return self._number(node, first, second)
        dropped = self._dropout(node)
        if dropped is not None:
            return dropped
        new = self._new.node_copy(node, lambda argument: self._nodes[argument])
        new.meta = {key: value for key, value in node.meta.items() if key == "source"}
        if isinstance(first, TensorShape):
            new.meta[SHAPE] = TensorShape(first.first, second.first, first.dtype)
        if node.op == "placeholder":
            self._image = new
        return new

    def _number(self, node: fx.Node, first: Any, second: Any) -> Any:
        """What stands for a value without tensors: itself where both runs agree, else a multiple of the batch size."""
        if isinstance(first, (tuple, list)) and isinstance(second, type(first)) and len(first) == len(second):
            parts = [self._number(node, a, b) for a, b in zip(first, second, strict=True)]
            return parts if isinstance(first, list) else tuple(parts)
        if isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys():
            return {key: self._number(node, first[key], second[key]) for key in first}
        if isinstance(first, slice) and isinstance(second, slice):
            bounds = zip((first.start, first.stop, first.step), (second.start, second.stop, second.step), strict=True)
            return slice(*(self._number(node, a, b) for a, b in bounds))
        if type(first) is type(second) and first == second:
            return first
        factor, rest = divmod(first, BATCHES[0]) if isinstance(first, int) else (0, 1)
        if rest or second != factor * BATCHES[1]:
            raise UsageError(
                f"{self._name}: {node.name} is {first!r} for {BATCHES[0]} images and {second!r} for {BATCHES[1]}; "
                "only multiples of the batch size can be exported"
            )
        return self._multiple(factor)

    def _multiple(self, factor: int) -> fx.Node:
        if self._batch is None:
            assert self._image is not None
            with self._new.inserting_after(self._image):
                self._batch = self._new.call_method("size", (self._image, 0))
            self._batch.meta[MULTIPLE] = 1
        if factor == 1:
            return self._batch
        if factor not in self._multiples:
            with self._new.inserting_after(self._batch):
                node = self._new.call_function(operator.mul, (self._batch, factor))
            node.meta[MULTIPLE] = factor
            self._multiples[factor] = node
        return self._multiples[factor]

    def _dropout(self, node: fx.Node) -> Any:
        """A functional dropout was traced with its training flag off: a module in its place follows train()."""
        if node.op != "call_function" or node.target not in _DROPOUTS:
            return None
        given: dict[str, Any] = dict(zip(("input", "p"), node.args, strict=False)) | dict(node.kwargs)
        source, p = self._nodes[given["input"]], given.get("p", 0.5)
        if isinstance(p, fx.Node):
            p = self._nodes[p]
        if not p:
            return source
        key = f"functional_dropout_{self._dropouts}"
        self._dropouts += 1
        self._source.add_submodule(key, _DROPOUTS[node.target](p))
        new = self._new.call_module(key, (source,))
        new.meta[SHAPE] = source.meta[SHAPE]
        return new


class _Recorder(fx.Interpreter):
    """Runs a graph and keeps what every node returned, tensors as their shapes."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.values: dict[str, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        self.values[n.name] = _summary(value)
        return value


def _run(
    graph: fx.GraphModule, name: str, batch: int, image_shape: Sequence[int], device: torch.device
) -> dict[str, Any]:
    recorder = _Recorder(graph)
    recorder.extra_traceback = False
    try:
        with torch.no_grad():
            recorder.run(torch.zeros(batch, *image_shape, device=device))
    except Exception as error:  # a network's own code may raise anything
        size = "×".join(map(str, image_shape[1:]))
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UsageError(
            f"{name} cannot take images of {size} with {image_shape[0]} channels: {reason}; set data.image_size to a "
            "size that it can take"
        ) from error
    return recorder.values


def _summary(value: Any) -> Any:
    if isinstance(value, Tensor):
        return TensorShape(tuple(value.shape), (), value.dtype)
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, (tuple, list)):
        return type(value)(map(_summary, value)) if type(value) in (tuple, list) else tuple(map(_summary, value))
    if isinstance(value, dict):
        return {key: _summary(part) for key, part in value.items()}
    return value


def _has_tensor(summary: Any) -> bool:
    if isinstance(summary, dict):
        summary = tuple(summary.values())
    if isinstance(summary, (tuple, list)):
        return any(map(_has_tensor, summary))
    return isinstance(summary, TensorShape)
