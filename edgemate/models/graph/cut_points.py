"""Where a graph can be cut: after a node whose tensor is alive, and with few others alive beside it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import fx, nn

from edgemate.models.graph.flattening import MULTIPLE, SHAPE

MOST_CARRIED = 7
"""Most tensors that pass a cut beside the one that its head reads."""
FEWEST = 3
"""A graph with fewer places where one tensor is alive is cut where several are, too."""

_CHAINS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_UNFINISHED = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.Dropout, nn.Dropout2d, nn.Identity)
_ACTIVATIONS = "torch.nn.modules.activation"
_FUNCTIONAL_ACTIVATIONS = frozenset(
    {"relu", "relu_", "relu6", "hardswish", "hardsigmoid", "silu", "gelu", "sigmoid", "tanh", "leaky_relu", "mish"}
)
_ONLY_SHAPE = frozenset({"contiguous", "flatten", "permute", "reshape", "squeeze", "transpose", "unflatten", "view"})


@dataclass(frozen=True)
class CutPoint:
    """A place where the graph can be cut.

    Attributes:
        name: path of the outermost module that ends here, stages rather than the list of them, or the node's own name.
        aliases: paths of the modules within that end here too.
        node: whose tensor a head reads.
        carried: further tensors that later nodes need.
        shape: of the tensor without the batch.
    """

    name: str
    aliases: tuple[str, ...]
    node: fx.Node
    carried: tuple[fx.Node, ...]
    shape: tuple[int, ...]


def find_cut_points(
    network: nn.Module,
    graph: fx.GraphModule,
    names: Mapping[str, Sequence[str]],
    inside: Mapping[str, str],
    end: fx.Node,
    wanted: Sequence[str] = (),
) -> list[CutPoint]:
    """The cut points up to `end`, in order, of which `end` is the last.

    Those are the ends of modules in a row (of the network itself, or of a list in it) at which one tensor is alive. A
    place within a unit of convolution, normalization and activation is not one, and of two places without weights
    between them only the later is. Where such places are fewer than `FEWEST`, or most of the network lies between two
    of them, up to `MOST_CARRIED` further tensors may be alive; where that is not enough, any end of a module counts.

    Args:
        network: that was traced.
        graph: its graph, flattened.
        names: node name → paths of the modules that return it, innermost first.
        inside: node name → path of the module whose code made it.
        end: the node that the classifier reads.
        wanted: names that a recipe asks for; they are cut points wherever the graph can be cut at all.
    """
    everywhere = [
        point for point in _possible(network, graph, names, end) if point.node is end or 1 <= len(point.shape) <= 3
    ]
    in_a_row = [point for point in everywhere if point.node is end or _in_a_row(network, graph, point, inside)]
    chosen = _last_of_each(graph, [point for point in in_a_row if point.node is end or not point.carried])
    if len(chosen) < FEWEST or _most_between_two(graph, chosen):
        whole = [point for point in in_a_row if point.node is end or not _is_branch(network, point)]
        chosen = _last_of_each(graph, whole)
    if len(chosen) < FEWEST:
        chosen = _last_of_each(graph, everywhere)
    asked = [point for point in everywhere if {point.name, *point.aliases} & set(wanted)]
    return sorted({point.node: point for point in (*chosen, *asked)}.values(), key=everywhere.index)


def image_dependent(graph: fx.GraphModule) -> set[fx.Node]:
    """The nodes whose value depends on the image; all others can be computed anywhere."""
    dependent: set[fx.Node] = set()
    for node in graph.graph.nodes:
        if MULTIPLE in node.meta:
            continue
        if node.op == "placeholder" or any(source in dependent for source in node.all_input_nodes):
            dependent.add(node)
    return dependent


def find_end(graph: fx.GraphModule, classifiers: Sequence[str]) -> fx.Node | None:
    """The last node before the classifiers at which one tensor is alive; None if there is no place to cut.

    Where convolutions or linear layers follow that node, it is the last one at which few tensors are alive.
    """
    single: fx.Node | None = None
    several: fx.Node | None = None
    unfinished = True
    for node, alive in liveness(graph):
        if node.op == "call_module" and node.target in classifiers:
            break
        unfinished = unfinished or _is_matrix(graph, node)
        if node.op == "placeholder" or node not in alive or len(alive) > 1 + MOST_CARRIED:
            continue
        if all(_shape(other) for other in alive):
            several = node
            if alive == [node]:
                single, unfinished = node, False
    return several if unfinished else single


def liveness(graph: fx.GraphModule, end: fx.Node | None = None) -> Iterator[tuple[fx.Node, list[fx.Node]]]:
    """Every image-dependent node up to `end` and the nodes that are alive after it, in order of execution."""
    dependent = image_dependent(graph)
    order = {node: position for position, node in enumerate(graph.graph.nodes)}
    last_use = {
        node: max((order[user] for user in node.users if MULTIPLE not in user.meta), default=-1) for node in dependent
    }
    alive: list[fx.Node] = []
    for node in graph.graph.nodes:
        if node not in dependent or node.op == "output":
            continue
        alive = [other for other in alive if last_use[other] > order[node]]
        if last_use[node] > order[node]:
            alive.append(node)
        yield node, alive
        if node is end:
            return


def _possible(
    network: nn.Module, graph: fx.GraphModule, names: Mapping[str, Sequence[str]], end: fx.Node
) -> list[CutPoint]:
    """Every place where the graph can be cut, with names of their own."""
    found: list[CutPoint] = []
    seen: set[str] = set()
    for node, alive in liveness(graph, end):
        if node.op == "placeholder" or node not in alive or len(alive) > 1 + MOST_CARRIED:
            continue
        shapes = [_shape(other) for other in alive]
        shape = shapes[alive.index(node)]
        if shape is None or None in shapes or not node.meta[SHAPE].dtype.is_floating_point:
            continue
        ending = set(names.get(node.name, ())) - seen
        seen |= ending
        # Of `blocks.2` and its last layer, `blocks.2.1.bn3`, only the former is a name.
        ending = {path for path in ending if _is_composite(network, path)} or ending
        paths = sorted(ending, key=lambda path: _rank(network, path)) or [node.name]
        carried = tuple(other for other in alive if other is not node)
        found.append(CutPoint(paths[0], tuple(paths[1:]), node, carried, shape))
    return found


def _shape(node: fx.Node) -> tuple[int, ...] | None:
    """The shape of features without the batch; None for anything else, and where there are no values."""
    shape: tuple[int, ...] | None = node.meta[SHAPE].per_image if SHAPE in node.meta else None
    return None if shape and 0 in shape else shape


def _in_a_row(network: nn.Module, graph: fx.GraphModule, point: CutPoint, inside: Mapping[str, str]) -> bool:
    """Whether a place is the end of a module in a row, or of an operation of the network's own."""
    paths = [point.name, *point.aliases]
    if point.node.name == point.name:  # the end of no module, or of one that has been used before
        if point.node.op == "call_module":
            return _parent_is_chain(network, str(point.node.target)) and not _continues(graph, point.node)
        own = not inside.get(point.node.name) and _called(point.node) not in _ONLY_SHAPE
        return own and not _continues(graph, point.node)
    if any(_is_composite(network, path) and _parent_is_chain(network, path) for path in paths):
        return True
    return _parent_is_chain(network, point.name) and not _continues(graph, point.node)


def _is_branch(network: nn.Module, point: CutPoint) -> bool:
    """Whether a place is the end of a layer in a list that a block owns, beside which further tensors are alive.

    Such layers are mostly side by side, not in a row: each reads a part of the features.
    """
    if not point.carried or point.node.op != "call_module":
        return False
    path = str(point.node.target)
    ending = [path] if point.node.name == point.name else [point.name, *point.aliases]
    if any(_is_composite(network, module) for module in ending):
        return False
    while path and (path == point.node.target or isinstance(network.get_submodule(path), _CHAINS)):
        path = path.rpartition(".")[0]
    return bool(path)


def _last_of_each(graph: fx.GraphModule, points: Sequence[CutPoint]) -> list[CutPoint]:
    """Of places without weights between them, the last."""
    order = {node: position for position, node in enumerate(graph.graph.nodes)}
    weighty = [order[node] for node in graph.graph.nodes if _has_weights(graph, node)]
    kept: list[CutPoint] = []
    for point in points:
        if kept and not any(order[kept[-1].node] < position <= order[point.node] for position in weighty):
            kept.pop()
        kept.append(point)
    return kept


def _most_between_two(graph: fx.GraphModule, points: Sequence[CutPoint]) -> bool:
    """Whether more than half of the convolutions and linear layers lie between two places."""
    order = {node: position for position, node in enumerate(graph.graph.nodes)}
    heavy = [order[node] for node in graph.graph.nodes if _is_matrix(graph, node)]
    places = [0, *(order[point.node] for point in points)]
    steps = (sum(a < place <= b for place in heavy) for a, b in itertools.pairwise(places))
    return max(steps, default=0) > len(heavy) / 2


def _parent_is_chain(network: nn.Module, path: str) -> bool:
    parent = path.rpartition(".")[0]
    return not parent or isinstance(network.get_submodule(parent), _CHAINS)


def _rank(network: nn.Module, path: str) -> tuple[bool, int, str]:
    """Outer modules first, but a list of all stages is no name for the end of its last stage."""
    outermost_list = "." not in path and isinstance(network.get_submodule(path), _CHAINS)
    return outermost_list, path.count("."), path


def _called(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")


def _is_composite(network: nn.Module, path: str) -> bool:
    return any(True for _ in network.get_submodule(path).children())


def _continues(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the next operation belongs to the same unit: a normalization, an activation or a dropout."""
    users = [user for user in node.users if MULTIPLE not in user.meta]
    return len(users) == 1 and _is_unfinished(graph, users[0])


def _is_unfinished(graph: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        module = graph.get_submodule(str(node.target))
        return isinstance(module, _UNFINISHED) or type(module).__module__ == _ACTIVATIONS
    return node.op in ("call_function", "call_method") and _called(node) in _FUNCTIONAL_ACTIVATIONS


def _is_matrix(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node is a layer with a matrix of weights, such as a convolution."""
    if node.op != "call_module":
        return False
    return any(parameter.ndim > 1 for parameter in graph.get_submodule(str(node.target)).parameters())


def _has_weights(graph: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return any(True for _ in graph.get_submodule(str(node.target)).parameters())
    return any(source.op == "get_attr" for source in node.all_input_nodes)
