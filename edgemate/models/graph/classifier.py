"""Finds the layers at the end of a graph that give the logits, and gives them another number of classes."""

from __future__ import annotations

import math

from torch import fx, nn

from edgemate.errors import UsageError
from edgemate.models.backbone import OwnHead
from edgemate.models.graph.cut_points import image_dependent
from edgemate.models.graph.flattening import MULTIPLE, SHAPE


def find_classifiers(graph: fx.GraphModule, name: str) -> list[str]:
    """Paths of the last layers with weights on every way to the output: mostly one linear layer.

    Args:
        graph: flattened; it returns logits (N, classes).
        name: what messages call the network.

    Raises:
        UsageError: there is none, or one is neither linear nor a 1×1 convolution to the classes.
    """
    output = next(node for node in graph.graph.nodes if node.op == "output")
    classes = _classes(output)
    dependent = image_dependent(graph)
    found: list[str] = []
    waiting, seen = list(output.all_input_nodes), set()
    while waiting:
        node = waiting.pop()
        if node in seen or MULTIPLE in node.meta or (node not in dependent and _is_scalar(node)):
            continue
        seen.add(node)
        module = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        if module is None or not any(True for _ in module.parameters()):
            if node.op in ("placeholder", "get_attr"):
                raise UsageError(_none(name))
            waiting += node.all_input_nodes
        elif _gives(module) == classes:
            found.append(str(node.target))
        else:
            raise UsageError(f"{_none(name)}; it ends with {node.target}, {type(module).__name__}")
    if not found:
        raise UsageError(_none(name))
    return sorted(set(found))


def classes_of(graph: fx.GraphModule) -> int:
    """The number of logits that a flattened graph returns."""
    return _classes(next(node for node in graph.graph.nodes if node.op == "output"))


def replace_classifier(own: OwnHead, classes: int) -> None:
    """Give a network's own classifier another number of classes; its last layers are then new, else nothing changes."""
    if own.classes == classes:
        return
    graph = own.module.get_submodule("graph")
    for path in own.layers:
        layer = graph.get_submodule(path)
        bias = getattr(layer, "bias", None) is not None
        if isinstance(layer, nn.Conv2d):
            new: nn.Module = nn.Conv2d(layer.in_channels, classes, 1, bias=bias)
        else:
            assert isinstance(layer, nn.Linear)
            new = nn.Linear(layer.in_features, classes, bias=bias)
        parent, _, name = path.rpartition(".")
        setattr(graph.get_submodule(parent), name, new)
    own.classes, own.replaced = classes, True


def _classes(output: fx.Node) -> int:
    (logits,) = output.all_input_nodes
    return int(logits.meta[SHAPE].first[-1])


def _is_scalar(node: fx.Node) -> bool:
    """Whether a node is one number, such as a temperature or the weight of one of several classifiers."""
    return SHAPE in node.meta and math.prod(node.meta[SHAPE].first) == 1


def _gives(module: nn.Module) -> int | None:
    if isinstance(module, nn.Linear):
        return module.out_features
    if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1:
        return module.out_channels
    return None


def _none(name: str) -> str:
    return f"{name}: no classifier was found, a linear layer or 1×1 convolution that gives the logits"
