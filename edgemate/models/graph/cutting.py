"""Makes a backbone of a traced network: one block between every two cut points, and its own classifier as a head."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor, fx, nn

from edgemate.errors import UsageError
from edgemate.models.backbone import Backbone, Features, Layout, OwnHead, Tap
from edgemate.models.graph.chains import transitions
from edgemate.models.graph.classifier import classes_of, find_classifiers
from edgemate.models.graph.cut_points import CutPoint, find_cut_points, find_end
from edgemate.models.graph.flattening import MULTIPLE, SHAPE, flatten
from edgemate.models.graph.tracing import trace

FEATURES = "features"


class GraphBlock(nn.Module):
    """A part of a traced graph as a block of a backbone.

    Args:
        graph: takes and returns tensors by position.
        inputs: names of the features that it takes.
        outputs: names of the features that it returns.
    """

    def __init__(self, graph: fx.GraphModule, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.graph = graph
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)

    def forward(self, features: Features) -> Features:
        """The tensors after this part."""
        returned = self.graph(*(features[name] for name in self.inputs))
        return dict(zip(self.outputs, returned, strict=True))


class GraphClassifier(nn.Module):
    """The end of a traced graph: from the features at the last cut to the logits."""

    def __init__(self, graph: fx.GraphModule, inputs: Sequence[str]) -> None:
        super().__init__()
        self.graph = graph
        self.inputs = tuple(inputs)

    def forward(self, features: Features) -> Tensor:
        """Logits (N, C)."""
        (logits,) = self.graph(*(features[name] for name in self.inputs))
        result: Tensor = logits
        return result


def cut_network(network: nn.Module, name: str, image_shape: Sequence[int], wanted: Sequence[str] = ()) -> Backbone:
    """A backbone with a block between every two cut points of a network; weights are shared with it.

    Args:
        network: takes images (N, C, H, W) and returns logits (N, classes).
        name: what messages call it.
        image_shape: (C, H, W); the backbone takes images of this size only.
        wanted: cut points that are needed, beside the usual ones.

    Raises:
        UsageError: the network cannot be traced or cut, or cannot take such images.
    """
    traced, tracer = trace(network, name)
    names = {node.name: paths for node, paths in tracer.outputs_of.items()}
    graph = flatten(traced, name, image_shape)
    classifiers = find_classifiers(graph, name)
    end = find_end(graph, classifiers)
    if end is None:
        raise UsageError(f"{name} cannot be cut anywhere before its classifier {classifiers[0]}")
    inside = {node.name: path for node, path in tracer.inside.items()}
    points = find_cut_points(network, graph, names, inside, end, wanted)
    for wish in wanted:
        if not any(wish in (point.name, *point.aliases) for point in points):
            _refuse(graph, names, wish, end)
    _keep_inputs(graph, [point.node for point in points])
    blocks: dict[str, nn.Module] = {}
    taps: dict[str, Tap] = {}
    parts: list[fx.GraphModule] = []
    aliases: dict[str, str] = {}
    final = _last_map(graph, points)
    grids = _grids(graph, end)
    inputs: dict[str, fx.Node] = {"image": next(node for node in graph.graph.nodes if node.op == "placeholder")}
    for point in points:
        outputs = {FEATURES: point.node, **{node.name: node for node in point.carried}}
        part = _part(graph, inputs, list(outputs.values()))
        blocks[point.name] = GraphBlock(part, list(inputs), list(outputs))
        taps[point.name] = _tap(point, final, grids, image_shape[1:])
        parts.append(part)
        aliases |= dict.fromkeys(point.aliases, point.name)
        inputs = outputs
    chains = transitions(parts)
    for position, place in enumerate(taps):
        later = tuple(chain for start, chain in chains if start > position)
        taps[place] = replace(taps[place], later=later)
    output = next(node for node in graph.graph.nodes if node.op == "output")
    last = points[-1].shape
    own = GraphClassifier(_part(graph, inputs, list(output.all_input_nodes)), list(inputs))
    return Backbone(
        blocks,
        taps,
        default_cuts=None,
        aliases={alias: target for alias, target in aliases.items() if alias not in blocks},
        own_head=OwnHead(own, classifiers, classes_of(graph), _channels(last, layout_of(last)), layout_of(last)),
    )


def _refuse(graph: fx.GraphModule, names: Mapping[str, Sequence[str]], wish: str, end: fx.Node) -> None:
    """Raise UsageError where a module ends, but no exit can stand. Other names are told apart by the backbone."""
    ending = [node for node in graph.graph.nodes if wish in names.get(node.name, ())]
    if not ending:
        return
    node = ending[-1]
    shape = node.meta[SHAPE].per_image if SHAPE in node.meta else None
    order = list(graph.graph.nodes)
    if order.index(node) > order.index(end):
        why = "it is part of the classifier"
    elif shape is None or not 1 <= len(shape) <= 3:
        why = "its output is not one tensor of features per image"
    else:
        why = "too many other tensors are alive there"
    raise UsageError(f"no exit can stand at {wish}: {why}; `edgemate plan` lists the places where one can")


def _part(graph: fx.GraphModule, inputs: Mapping[str, fx.Node], outputs: Sequence[fx.Node]) -> fx.GraphModule:
    """The part of a graph between some tensors and others. Numbers and constants are computed again within it."""
    part = fx.Graph()
    known: dict[fx.Node, fx.Node] = {}
    for name, node in inputs.items():
        known[node] = part.placeholder(name)
    batch: fx.Node | None = None
    needed = _between(graph, set(known), outputs)
    for node in graph.graph.nodes:
        if node not in needed or node in known:
            continue
        if MULTIPLE in node.meta:
            if batch is None:
                batch = part.call_method("size", (next(iter(known.values())), 0))
            factor = node.meta[MULTIPLE]
            known[node] = batch if factor == 1 else part.call_function(_times, (batch, factor))
        else:
            known[node] = part.node_copy(node, lambda argument: known[argument])
    part.output(tuple(known[node] for node in outputs))
    module = fx.GraphModule(graph, part)
    module.recompile()
    return module


def _times(batch: int, factor: int) -> int:
    """A multiple of the batch size. A function of ours, since fx prints `operator.mul` as `*` in any case."""
    return batch * factor


def _between(graph: fx.GraphModule, given: set[fx.Node], outputs: Sequence[fx.Node]) -> set[fx.Node]:
    needed: set[fx.Node] = set()
    waiting = list(outputs)
    while waiting:
        node = waiting.pop()
        if node in needed:
            continue
        needed.add(node)
        if node not in given and MULTIPLE not in node.meta:
            waiting += node.all_input_nodes
    return needed


def _keep_inputs(graph: fx.GraphModule, nodes: Sequence[fx.Node]) -> None:
    """No operation may change the tensor of a cut in place, since a head reads it too."""
    for node in nodes:
        for user in node.users:
            module = graph.get_submodule(str(user.target)) if user.op == "call_module" else None
            if module is not None and getattr(module, "inplace", False):
                module.inplace = False  # type: ignore[assignment]
            if user.op == "call_function" and user.kwargs.get("inplace") is True:
                user.kwargs = {**user.kwargs, "inplace": False}


def _last_map(graph: fx.GraphModule, points: Sequence[CutPoint]) -> tuple[int, ...]:
    """The shape of the last feature map or sequence of tokens before the classifier."""
    last: tuple[int, ...] = points[-1].shape
    for node in graph.graph.nodes:
        shape = node.meta[SHAPE].per_image if SHAPE in node.meta else None
        if shape is not None and 2 <= len(shape) <= 3 and 0 not in shape and _side(shape, layout_of(shape)) > 1:
            last = shape
        if node is points[-1].node:
            break
    return last


def _grids(graph: fx.GraphModule, end: fx.Node) -> dict[fx.Node, tuple[int, int]]:
    """Height and width of what every convolution up to `end` returns, in order of execution, as patch embeddings do."""
    found: dict[fx.Node, tuple[int, int]] = {}
    for node in graph.graph.nodes:
        shape = node.meta[SHAPE].per_image if SHAPE in node.meta else None
        module = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        found[node] = (shape[1], shape[2]) if isinstance(module, nn.Conv2d) and shape and len(shape) == 3 else (0, 0)
        if node is end:
            break
    return found


def _tap(point: CutPoint, final: tuple[int, ...], grids: Mapping[fx.Node, tuple[int, int]], size: Sequence[int]) -> Tap:
    shape = point.shape
    layout, final_layout = layout_of(shape), layout_of(final)
    here, there = _side(shape, layout), _side(final, final_layout)
    reductions = max(0, round(math.log2(here / there))) if here and there else 0
    before = [grids[node] for node in itertools.takewhile(lambda node: node is not point.node, grids)]
    grid = token_grid(shape[0], size, before) if len(shape) == 2 else None
    return Tap(_channels(shape, layout), _channels(final, final_layout), reductions, layout, shape, grid)


def token_grid(tokens: int, size: Sequence[int], maps: Sequence[tuple[int, int]] = ()) -> tuple[int, int]:
    """Height and width of the largest grid that has at most so many tokens: of square patches, or of an earlier map.

    Patches that overlap or leave out a margin make another grid than the image divided by their size; the map that the
    tokens were has it.

    Args:
        tokens: L, class tokens included; 1 at least.
        size: (height, width) of the image.
        maps: (height, width) of the maps before.
    """
    patches = [(max(1, size[0] // side), max(1, size[1] // side)) for side in range(1, max(size) + 1)]
    return max((grid for grid in (*patches, *maps) if grid[0] * grid[1] <= tokens), key=math.prod)


def layout_of(shape: Sequence[int]) -> Layout:
    """How a tensor of this shape, without the batch, is laid out: maps have two equal or similar sides."""
    if len(shape) == 3:
        first, last = abs(math.log(shape[1] / shape[2])), abs(math.log(shape[0] / shape[1]))
        return "map" if first <= last else "channels_last"
    return "tokens" if len(shape) == 2 else "vector"


def _channels(shape: Sequence[int], layout: Layout) -> int:
    return shape[0] if layout in ("map", "vector") else shape[-1]


def _side(shape: Sequence[int], layout: Layout) -> float:
    if layout == "map":
        return math.sqrt(shape[1] * shape[2])
    if layout == "channels_last":
        return math.sqrt(shape[0] * shape[1])
    return math.sqrt(shape[0]) if layout == "tokens" else 1.0
