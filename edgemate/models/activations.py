"""Peak activation memory of a network, from the lifetimes of the tensors in its exported graph."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.fx import Node


def peak_activation_bytes(module: nn.Module, image: Tensor) -> int:
    """Most bytes of activations alive at once while `module` runs on `image`, run in the order of the graph.

    A tensor lives from the operator that makes it to the last one that reads it, or a view of it; in-place operators
    and views take no memory of their own. Weights and the workspace of kernels are not counted: this is the floor
    that any runtime needs unless it fuses operators.
    """
    with torch.no_grad():
        program = torch.export.export(module, (image,))
    images = set(program.graph_signature.user_inputs)  # the graph's other inputs are weights
    return peak_bytes([node for node in program.graph.nodes if node.op != "placeholder" or node.name in images])


def peak_bytes(nodes: Sequence[Node], kept: Iterable[Node] = ()) -> int:
    """Most bytes of activations alive at once while some nodes of an exported graph run in their order.

    Args:
        nodes: the nodes, in order. What they read from other nodes is alive from the start.
        kept: nodes whose tensors stay alive to the end, such as what is passed on.
    """
    end = len(nodes)
    owners = {node: storage_of(node) for node in nodes}
    born = {owner: position for position, (node, owner) in enumerate(owners.items()) if owner is node}
    last_use: dict[Node, int] = {}
    for position, node in enumerate(nodes):
        for used in (node, *node.all_input_nodes):
            last_use[storage_of(used)] = position
    last_use |= {storage_of(node): end for node in kept}
    change = [0] * (end + 2)
    for owner, last in last_use.items():
        if owner.op != "call_function" and owner not in born:
            continue  # a weight or another constant
        size = _bytes(owner)
        change[born.get(owner, 0)] += size
        change[last + 1] -= size
    return max(itertools.accumulate(change))


def storage_of(node: Node) -> Node:
    """The node that owns the memory of a node's value."""
    while node.op == "call_function" and _shares_input(node):
        node = node.all_input_nodes[0]
    return node


def _shares_input(node: Node) -> bool:
    if node.target is operator.getitem:
        return True
    schema = getattr(node.target, "_schema", None)
    if schema is None or not node.all_input_nodes or not schema.returns:
        return False
    return schema.returns[0].alias_info is not None


def _bytes(node: Node) -> int:
    value = node.meta.get("val")
    tensors = value if isinstance(value, (list, tuple)) else (value,)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if isinstance(tensor, Tensor))
