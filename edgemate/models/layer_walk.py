"""One walk over the exported graph of chained segments, which makes a `LayerWork` of every layer."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from torch import nn
from torch.export import ExportedProgram
from torch.fx import Node

from edgemate.core.layer_work import LayerWork
from edgemate.models.activations import storage_of
from edgemate.models.layer_macs import convolution_reads, is_counted, operator_macs, operator_name, shape_of

_SEGMENT = re.compile(r"segments\.(\d+)(?:\.(stage|head|mixture)(?:\.(.*))?)?")
_TRACED = re.compile(r"(?:.*\.)?graph\.(.+)")
"""A part of a traced network: what follows is the path that its library or author gave the layer."""


@dataclass(frozen=True)
class Place:
    """Where an operator is: exit k, 1-based, part of the segment, path in the model, and the module there."""

    exit: int
    part: Literal["stage", "head", "mixing"]
    path: str
    module: nn.Module


class GraphWalk:
    """The layers of an exported graph.

    Args:
        program: the export of `chained`.
        chained: a module whose `segments` are `Segment`s; it returns the logits of every exit.

    Attributes:
        outputs: the nodes of the logits of every exit.
        nodes: the nodes that they need, in order, without constants.
        layers: node → its layer, for operators with MACs or parameters of their own.
        uncounted: name of the operator → how often it runs, for operators without MACs.
    """

    def __init__(self, program: ExportedProgram, chained: nn.Module) -> None:
        signature = program.graph_signature
        paths = signature.inputs_to_parameters
        owners = dict(chained.named_parameters(remove_duplicate=False))
        self._parameters = {name: id(owners[path]) for name, path in paths.items()}
        images = set(signature.user_inputs)
        nodes = list(program.graph.nodes)
        self._constants = {
            node for node in nodes if node.op == "get_attr" or (node.op == "placeholder" and node.name not in images)
        }
        self._chained = chained
        self.outputs: list[Node] = list(next(node for node in nodes if node.op == "output").args[0])
        needed = ancestors(self.outputs)
        self.nodes = [node for node in nodes if node in needed and node not in self._constants]
        self.layers: dict[Node, LayerWork] = {}
        self.uncounted: Counter[str] = Counter()
        seen: set[int] = set()
        read: set[tuple[int, Node]] = set()
        for node in self.nodes:
            if node.op == "call_function":
                if not is_counted(node):
                    self.uncounted[operator_name(node)] += 1
                layer = self._layer(node, seen, read)
                if layer is not None:
                    self.layers[node] = layer

    def place(self, node: Node) -> Place:
        """Where the operator of a node is. What belongs to no segment, such as the image, is placed in the first."""
        stack = list(node.meta.get("nn_module_stack", {}).values())
        path: str = stack[-1][0] if stack else ""
        found = _SEGMENT.fullmatch(path)
        index, part, rest = (int(found[1]), found[2], found[3] or "") if found else (0, None, "")
        traced = _TRACED.fullmatch(rest)
        module = self._chained.get_submodule(path)
        if part == "mixture":
            return Place(index + 1, "mixing", f"mixture.{index}", module)
        if part == "head":
            return Place(index + 1, "head", traced[1] if traced else _joined(f"heads.{index}", rest), module)
        return Place(index + 1, "stage", traced[1] if traced else _joined(f"stages.{index}", rest), module)

    def _layer(self, node: Node, seen: set[int], read: set[tuple[int, Node]]) -> LayerWork | None:
        """The layer of a node, if it is one.

        Args:
            node: an operator.
            seen: the parameters that earlier layers own, by identity; this layer's are added.
            read: exit and tensor that earlier layers read; what this one reads is added.
        """
        place, name = self.place(node), operator_name(node)
        constants = [used for used in node.all_input_nodes if storage_of(used) in self._constants]
        owned = {
            self._parameters[root.name]: math.prod(shape_of(root))
            for root in map(storage_of, constants)
            if root.name in self._parameters
        }
        counted = is_counted(node)
        mixes = place.part == "mixing" and name == "mul"
        if not (counted or owned or mixes):
            return None
        layer = LayerWork(
            path=place.path,
            type=name if any(place.module.children()) or not counted | _is_norm(name) else type(place.module).__name__,
            exit=place.exit,
            part=place.part,
            output_shape=shape_of(node)[1:],
            macs=operator_macs(node) if counted else math.prod(shape_of(node)) if mixes else 0,
            parameters=sum(size for owner, size in owned.items() if owner not in seen),
        )
        seen |= set(owned)
        if not counted:
            if _is_folded(node):
                return replace(layer, type=f"{layer.type}, folded")
            return replace(layer, other_values=sum(math.prod(shape_of(used)) for used in constants))
        matrices = [used for used in constants if len(shape_of(used)) > 1]
        others = sum(math.prod(shape_of(used)) for used in constants if used not in matrices)
        if not others and any(_is_folded(user) for user in node.users):
            others = shape_of(node)[1]  # the bias that folding makes
        values = again = 0
        for used in node.all_input_nodes:
            root = storage_of(used)
            if root in self._constants:
                continue
            size = min(math.prod(shape_of(used)), math.prod(shape_of(root)))  # a view may repeat or leave out values
            size = convolution_reads(node, size) if name.startswith("conv") else size
            values += size
            again += size if (place.exit, root) in read else 0
            read.add((place.exit, root))
        return replace(
            layer,
            weights=sum(math.prod(shape_of(used)) for used in matrices),
            other_values=others,
            scales=sum(shape_of(used)[0] for used in matrices),
            input_values=values,
            reread_values=again,
            output_values=math.prod(shape_of(node)),
        )


def ancestors(nodes: Iterable[Node]) -> set[Node]:
    """Some nodes and all that they depend on."""
    found: set[Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += node.all_input_nodes
    return found


def _joined(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def _is_norm(name: str) -> bool:
    return name.endswith("_norm")


def _is_folded(node: Node) -> bool:
    """Whether it is a batch normalization right after a convolution that nothing else reads."""
    if operator_name(node) != "batch_norm":
        return False
    before = node.all_input_nodes[0]
    return operator_name(before).startswith("conv") and len(before.users) == 1
