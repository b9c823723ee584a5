"""Finds the chains of convolutions in a traced graph that was cut into parts."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from edgemate.models.chains import Chain, Step

_FUNCTIONS: dict[Any, Callable[[], nn.Module]] = {
    F.relu: nn.ReLU,
    torch.relu: nn.ReLU,
    F.relu6: nn.ReLU6,
    F.silu: nn.SiLU,
    F.hardswish: nn.Hardswish,
    F.gelu: nn.GELU,
}
_PRODUCTS = (operator.mul, torch.mul)
_SHORTEST = 2


def transitions(parts: Sequence[fx.GraphModule]) -> list[tuple[int, Chain]]:
    """The chains among the parts of a network that change the number of channels or the size of the map.

    A chain has at least two convolutions and ends with one that no activation follows, as inverted residuals do.
    Squeeze-and-excitation is left out of it. Parts with a shortcut, parts that pass several tensors, and those with
    anything else beside convolutions, batch normalization and activations belong to none.

    Args:
        parts: one after the other, between every two cut points.

    Returns:
        For each chain, in order, the position of the part that it begins with.
    """
    found: list[tuple[int, Chain]] = []
    begun: list[Step] = []
    start = 0
    for position, part in enumerate(parts):
        steps = _steps(part)
        if steps is None:
            begun = []
            continue
        start = start if begun else position
        begun += steps
        if begun and begun[-1].activation is None:
            chain = Chain(tuple(begun))
            if len(begun) >= _SHORTEST and (chain.in_channels != chain.out_channels or chain.stride > 1):
                found.append((start, chain))
            begun = []
    return found


def _steps(part: fx.GraphModule) -> list[Step] | None:
    """The convolutions that a part is; None if it is anything else."""
    output = next(node for node in part.graph.nodes if node.op == "output")
    if len(output.all_input_nodes) != 1 or sum(node.op == "placeholder" for node in part.graph.nodes) != 1:
        return None
    node: fx.Node | None = output.all_input_nodes[0]
    steps: list[Step] = []
    norm: _BatchNorm | None = None
    activation: nn.Module | None = None
    while node is not None and node.op != "placeholder":
        module = part.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, nn.Conv2d):
            step = Step(module, norm, activation)
            if not (module.groups == 1 or step.depthwise) or module.dilation != (1, 1):
                return None
            steps.insert(0, step)
            norm = activation = None
        elif isinstance(module, _BatchNorm) and norm is None:
            norm = module
            activation = _activation_of(getattr(module, "act", None)) or activation
        elif module is not None and _does_nothing(module):
            pass
        elif _activation(node, module) is not None and norm is None and activation is None:
            activation = _activation(node, module)
        elif node.op != "call_function" or node.target not in _PRODUCTS:
            return None
        node = _before(node)
    return None if node is None or norm is not None or activation is not None else steps


def _before(node: fx.Node) -> fx.Node | None:
    """The node that a step reads; of a product of a map and its own gate, the map. None where there are others."""
    inputs = node.all_input_nodes
    if len(inputs) == 1:
        return inputs[0]
    for one, other in (inputs, inputs[::-1]) if len(inputs) == 2 else ():
        if _leads_to(one, other):
            return one
    return None


def _leads_to(one: fx.Node, other: fx.Node) -> bool:
    waiting, seen = [other], set()
    while waiting:
        node = waiting.pop()
        if node is one:
            return True
        if node not in seen:
            seen.add(node)
            waiting += node.all_input_nodes
    return False


def _does_nothing(module: nn.Module) -> bool:
    return isinstance(module, (nn.Identity, nn.Dropout, nn.Dropout2d)) or type(module).__name__ == "DropPath"


def _activation(node: fx.Node, module: nn.Module | None) -> nn.Module | None:
    if module is not None:
        return _activation_of(module)
    made = _FUNCTIONS.get(node.target) if node.op == "call_function" else None
    return None if made is None else made()


def _activation_of(module: nn.Module | None) -> nn.Module | None:
    if module is None or any(True for _ in module.parameters()):
        return None
    home = type(module).__module__
    return module if home == "torch.nn.modules.activation" or home.startswith("timm.layers.activations") else None
