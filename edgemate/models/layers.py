"""The layers of a multi-exit model, one by one, and the memory that exits and segments need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.fx import Node

from edgemate.core.layer_work import LayerWork
from edgemate.models.activations import peak_bytes
from edgemate.models.layer_walk import GraphWalk, ancestors
from edgemate.models.multi_exit import MultiExitModel, Segment
from edgemate.models.operator_kinds import Uncounted, uncounted_operators


@dataclass(frozen=True)
class CountedLayers:
    """The layers of a multi-exit model for one image.

    A layer is an operator with MACs or with parameters of its own.

    Attributes:
        layers: all layers of segments 1 … K in the order in which they run.
        prefixes: per exit the positions in `layers` of what its prefix runs.
        prefix_peaks: per exit the most bytes of float32 activations alive at once in its prefix.
        segment_peaks: per exit likewise in its segment, with what the segment is passed and passes on.
        uncounted: the operators that have no MACs.
    """

    layers: tuple[LayerWork, ...]
    prefixes: tuple[tuple[int, ...], ...]
    prefix_peaks: tuple[int, ...]
    segment_peaks: tuple[int, ...]
    uncounted: tuple[Uncounted, ...]

    def segment(self, exit: int) -> tuple[LayerWork, ...]:
        """The layers of segment k, 1-based."""
        return tuple(layer for layer in self.layers if layer.exit == exit)

    def prefix(self, exit: int) -> tuple[LayerWork, ...]:
        """The layers that the prefix of exit k runs, 1-based."""
        return tuple(self.layers[i] for i in self.prefixes[exit - 1])


def count_layers(model: MultiExitModel, image_shape: Sequence[int]) -> CountedLayers:
    """Count the layers of a model for one image of shape (C, H, W).

    The graph that torch.export records of all segments in a row is walked once. The model is counted in evaluation
    mode and left in the mode it was in.
    """
    was_training = model.training
    model.eval()
    try:
        chained = _Chained(model).eval()
        image = torch.zeros(1, *image_shape, device=next(model.parameters()).device)
        with torch.no_grad():
            program = torch.export.export(chained, (image,))
    finally:
        model.train(was_training)
    walk = GraphWalk(program, chained)
    reached = [ancestors([logits]) for logits in walk.outputs]
    segments = [[node for node in walk.nodes if walk.place(node).exit == exit] for exit in range(1, model.exits + 1)]
    return CountedLayers(
        layers=_with_float_classifiers(tuple(walk.layers.values())),
        prefixes=tuple(tuple(i for i, node in enumerate(walk.layers) if node in these) for these in reached),
        prefix_peaks=tuple(
            peak_bytes([node for node in walk.nodes if node in these], [logits])
            for these, logits in zip(reached, walk.outputs, strict=True)
        ),
        segment_peaks=tuple(peak_bytes(nodes, _passed_on(nodes, walk.outputs)) for nodes in segments),
        uncounted=uncounted_operators(walk.uncounted),
    )


class _Chained(nn.Module):
    """All segments, one after another; returns the logits of every exit."""

    def __init__(self, model: MultiExitModel) -> None:
        super().__init__()
        self.segments = nn.ModuleList(Segment(model, exit) for exit in range(1, model.exits + 1))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        features = {"image": image}
        returned = []
        for segment in self.segments:
            features, logits = segment(features)
            returned.append(logits)
        return tuple(returned)


def _with_float_classifiers(layers: tuple[LayerWork, ...]) -> tuple[LayerWork, ...]:
    """Mark what INT8 leaves in float32: the last product of a head where that is a linear layer."""
    last = {layer.exit: place for place, layer in enumerate(layers) if layer.part == "head" and layer.weights}
    marked = {place for place in last.values() if layers[place].type == "Linear"}
    return tuple(replace(layer, stays_float=place in marked) for place, layer in enumerate(layers))


def _passed_on(nodes: Sequence[Node], outputs: Sequence[Node]) -> list[Node]:
    """The nodes of a segment that others read, or that are logits."""
    inside = set(nodes)
    return [node for node in nodes if node in outputs or any(user not in inside for user in node.users)]
