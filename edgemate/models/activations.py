"""Peak activation memory of a network, from the lifetimes of the tensors in its exported graph."""

from __future__ import annotations

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
    nodes = list(program.graph.nodes)
    images = set(program.graph_signature.user_inputs)  # the graph's other inputs are weights
    storage = {node: _storage(node) for node in nodes}
    last_use: dict[Node, int] = {}
    for position, node in enumerate(nodes):
        for used in (node, *node.all_input_nodes):
            last_use[storage[used]] = position
    alive = peak = 0
    dying: dict[int, int] = {}
    for position, node in enumerate(nodes):
        if storage[node] is node:
            size = 0 if node.op == "placeholder" and node.name not in images else _bytes(node)
            alive += size
            end = last_use[node]
            dying[end] = dying.get(end, 0) + size
        peak = max(peak, alive)
        alive -= dying.get(position, 0)
    return peak


def _storage(node: Node) -> Node:
    """The node that owns the memory of a node's value."""
    while node.op == "call_function" and _shares_input(node):
        node = node.all_input_nodes[0]
    return node


def _shares_input(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    if schema is None or not node.all_input_nodes or not schema.returns:
        return False
    return schema.returns[0].alias_info is not None


def _bytes(node: Node) -> int:
    value = node.meta.get("val")
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0
