"""Counts what exits would cost at every cut point of a network, before any training."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgemate.config import Exits, Model
from edgemate.errors import UsageError
from edgemate.models.backbone import Backbone, Features
from edgemate.models.building import (
    Size,
    build_backbone,
    build_head,
    keeps_classifier,
    places_by_macs,
    usual_size,
)
from edgemate.models.cost import macs_by_path
from edgemate.models.graph.classifier import replace_classifier
from edgemate.models.placing import USUAL_COUNT, place_by_macs
from edgemate.models.plan_result import BYTES_PER_VALUE, Plan, PlannedCut
from edgemate.models.plan_warnings import plan_warnings
from edgemate.progress import SILENT, Progress

USUAL_CLASSES = 1000


def plan_network(
    model: Model,
    exits: Exits,
    *,
    channels: int = 3,
    classes: int | None = None,
    size: Size | None = None,
    recipe: str | None = None,
    progress: Progress = SILENT,
) -> Plan:
    """Count MACs, parameters and what passes the cut at every cut point, and place the exits.

    Weights are neither fetched nor read.

    Args:
        model: backbone and its options.
        exits: cut points or their number, and heads. Where exits are placed by MACs, a section without `count` asks for
            4, or as many as there are cut points.
        channels: of the image.
        classes: C; those of the network's own classifier if None, or 1,000 where it has none.
        size: (height, width) of the image; the network's usual one if None.
        recipe: what the sections are from, for the plan.
        progress: receives the steps.

    Raises:
        UsageError: the network cannot be built, traced or cut, or cannot take such images; a cut point is unknown, or
            no exit can stand there.
    """
    name = model.backbone
    options = {key: value for key, value in model.options.items() if key != "pretrained"}
    section = model.model_copy(update={"weights": None, "options": options})
    wanted = exits.at if isinstance(exits.at, list) else ()
    progress.step(f"building {name}")
    usual = usual_size(section)
    size = size or usual
    backbone = build_backbone(section, channels, classes or USUAL_CLASSES, size, wanted).eval()
    own = keeps_classifier(exits, backbone)
    classes = classes or (backbone.own_head.classes if backbone.own_head else USUAL_CLASSES)
    if backbone.own_head is not None:
        replace_classifier(backbone.own_head, classes)
    ends = None if places_by_macs(exits, backbone) else _named(exits, backbone)  # before anything slow
    progress.step("counting MACs")
    image = torch.zeros(1, channels, *size)
    crossing = _crossing(backbone, image, name)
    heads, problems = _heads(exits, backbone, classes, own)
    counted = macs_by_path(_Planned(backbone, heads), image)
    block_macs = [counted[f"blocks.{i}"] for i in range(len(backbone.blocks))]
    head_macs = {i: counted[f"heads.{i}"] for i in heads}
    own_macs = counted["classifier"] if backbone.own_head is not None else None
    end = len(backbone.blocks) - 1
    last_macs = own_macs if own_macs is not None else head_macs.get(end, 0)
    if ends is None:
        count = exits.count or min(USUAL_COUNT, len(backbone.blocks))
        with_own = [*block_macs, *([] if own_macs is None else [own_macs])]
        ends = backbone.exit_blocks(place_by_macs(backbone, [int(macs) for macs in with_own], count))
    numbers = {block: k for k, block in enumerate(ends, 1)}
    for block in ends:
        if block in problems:
            raise UsageError(f"no exit can stand at {backbone.block_names[block]}: {problems[block]}")
    total = sum(block_macs) + last_macs
    parameters = _parameters([*backbone.blocks])
    cuts = tuple(
        PlannedCut(
            name=cut,
            aliases=tuple(alias for alias, target in backbone.aliases.items() if target == cut),
            macs=int(macs),
            macs_fraction=macs / total if total else 0.0,
            parameters=parameters[i],
            layout=backbone.taps[cut].layout,
            shape=crossing[i]["features"],
            tensors=len(crossing[i]),
            bytes=BYTES_PER_VALUE * sum(math.prod(shape) for shape in crossing[i].values()),
            head_macs=_whole(own_macs if own and i == end else head_macs.get(i)),
            head_problem=problems.get(i),
            own_classifier=own and i == end,
            exit=numbers.get(i),
        )
        for i, (cut, macs) in enumerate(zip(backbone.block_names, itertools.accumulate(block_macs), strict=True))
    )
    last: nn.Module | None = backbone.own_head.module if backbone.own_head is not None else heads.get(end)
    return Plan(
        network=name,
        recipe=recipe,
        image=(channels, *size),
        classes=classes,
        head=exits.head,
        own_classifier=backbone.own_head is not None,
        macs=int(total),
        parameters=parameters[-1] + (_parameters([last])[0] if last is not None else 0),
        cuts=cuts,
        warnings=tuple(plan_warnings(name, exits.head, cuts, size, usual)),
    )


class _Planned(nn.Module):
    """The blocks in a row, every head after its block, and the network's own classifier; returns all logits."""

    def __init__(self, backbone: Backbone, heads: Mapping[int, nn.Module]) -> None:
        super().__init__()
        self.blocks = backbone.blocks
        self.heads = nn.ModuleDict({str(block): head for block, head in heads.items()})
        self.classifier = None if backbone.own_head is None else backbone.own_head.module
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        features: Features = {"image": image}
        returned: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            features = block(features)
            if str(i) in self.heads:
                returned.append(self.heads[str(i)](features)[0])
        returned += features.values() if self.classifier is None else [self.classifier(features)]
        return tuple(returned)


def _named(exits: Exits, backbone: Backbone) -> list[int]:
    """The blocks after which the section, or else the family, has its exits."""
    cuts = exits.at if isinstance(exits.at, list) else backbone.default_cuts
    assert cuts is not None
    return backbone.exit_blocks(cuts, ends_early=exits.final == "new")


def _crossing(backbone: Backbone, image: Tensor, name: str) -> list[dict[str, tuple[int, ...]]]:
    """Per block the name and shape, without the batch, of every tensor that it passes on."""
    found = []
    features: Features = {"image": image}
    with torch.no_grad():
        for block, cut in zip(backbone.blocks, backbone.block_names, strict=True):
            try:
                features = block(features)
            except Exception as error:  # a user's own code may raise anything
                size = "×".join(map(str, image.shape[2:]))
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                raise UsageError(
                    f"{name} cannot take images of {size} with {image.shape[1]} channels: {reason} (before {cut}); set "
                    "data.image_size to a size that it can take"
                ) from error
            found.append({key: tuple(tensor.shape[1:]) for key, tensor in features.items()})
    return found


def _heads(exits: Exits, backbone: Backbone, classes: int, own: bool) -> tuple[dict[int, nn.Module], dict[int, str]]:
    """Block → new head, and block → why there can be none. The network's own classifier is no new head."""
    heads: dict[int, nn.Module] = {}
    problems: dict[int, str] = {}
    for i, name in enumerate(backbone.block_names[: len(backbone.blocks) - own]):
        try:
            heads[i] = build_head(exits, backbone.taps[name], classes).eval()
        except UsageError as error:
            problems[i] = str(error)
    return heads, problems


def _parameters(modules: Sequence[nn.Module]) -> list[int]:
    """Parameters up to and with each module; shared ones count once."""
    seen: dict[int, int] = {}
    found = []
    for module in modules:
        seen |= {id(parameter): parameter.numel() for parameter in module.parameters()}
        found.append(sum(seen.values()))
    return found


def _whole(macs: Any) -> int | None:
    return None if macs is None else int(macs)
