"""From a recipe's sections to a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgemate.config import Exits, Model
from edgemate.data.root import locate
from edgemate.errors import DataError, UsageError
from edgemate.models.backbone import Backbone, Tap, with_layout
from edgemate.models.graph.classifier import replace_classifier
from edgemate.models.graph.cutting import cut_network
from edgemate.models.heads.head import Head
from edgemate.models.heads.linear import linear
from edgemate.models.multi_exit import MultiExitModel
from edgemate.models.networks.inputs import input_defaults
from edgemate.models.networks.network import Network
from edgemate.models.networks.own_networks import own_network
from edgemate.models.placing import USUAL_COUNT, place_exits
from edgemate.models.weights.files import load_weights, read_weights
from edgemate.models.weights.runs import load_run
from edgemate.registry import BACKBONES, HEADS

Size = tuple[int, int]
_USUAL_SIZE = 224


def build_model(model: Model, exits: Exits, channels: int, classes: int, size: Size | None = None) -> MultiExitModel:
    """The multi-exit model that a recipe's `model` and `exits` sections describe, with the weights it asks for.

    Args:
        model: backbone, its options and weights.
        exits: cut points and heads.
        channels: of the image.
        classes: C.
        size: (height, width) of the image. Networks that are cut by their graph take images of this size only, and
            exits that are placed by MACs depend on it; the network's usual size if absent.

    Raises:
        UsageError: a cut point, an option or the weights do not fit the backbone.
    """
    notes: list[str] = []
    size = size or usual_size(model)
    wanted = exits.at if isinstance(exits.at, list) else ()
    backbone = build_backbone(model, channels, classes, size, wanted, notes)
    own_last = keeps_classifier(exits, backbone)
    if own_last and backbone.own_head is not None:
        own_classes = backbone.own_head.classes
        replace_classifier(backbone.own_head, classes)
        if backbone.own_head.trained and backbone.own_head.replaced:
            notes.append(
                f"{model.backbone}: its classifier of {own_classes} classes is replaced by a new one of {classes}"
            )
    at = exits.at if isinstance(exits.at, list) else None
    if places_by_macs(exits, backbone):
        count = exits.count or min(USUAL_COUNT, len(backbone.block_names))
        at = place_exits(backbone, (channels, *size), count)

    def make_head(tap: Tap) -> Head:
        return build_head(exits, tap, classes)

    built = MultiExitModel(backbone, at, make_head, own_last=own_last, ends_early=exits.final == "new")
    if model.weights is not None and model.weights.startswith("run:"):
        notes += load_run(built, Path(model.weights.removeprefix("run:")))
    built.notes = notes
    return built


def places_by_macs(exits: Exits, backbone: Backbone) -> bool:
    """Whether exits are placed at near-equal steps of MACs, rather than where the section or the family has them."""
    return exits.at == "auto" or exits.count is not None or (exits.at is None and backbone.default_cuts is None)


def build_head(exits: Exits, tap: Tap, classes: int) -> Head:
    """A new head of the kind that the section names. Raises UsageError where it does not fit the features."""
    if exits.layout is not None:
        tap = with_layout(tap, exits.layout)
    if tap.layout == "vector":  # no place is left that a trunk could read
        return linear(tap, classes, dropout=exits.options.get("dropout", 0.0))
    head: Head = HEADS.make(exits.head, Head, tap, classes, **exits.options)
    return head


def build_backbone(
    model: Model, channels: int, classes: int, size: Size, wanted: Any = (), notes: list[str] | None = None
) -> Backbone:
    """The backbone of a recipe, with a library's weights or those of a file if it asks for them.

    Args:
        model: the section.
        channels: of the image.
        classes: C.
        size: (height, width) of the image.
        wanted: names of cut points that are needed.
        notes: gets a sentence for everything in a file of weights that was left out.

    Raises:
        UsageError: as for `build_model`.
    """
    source = model.weights or ""
    pretrained = source == "pretrained"
    library, name = BACKBONES.library(model.backbone), model.backbone
    if library is not None:
        made: Any = BACKBONES.get(name)(library[1], channels, size, pretrained, **model.options)
    elif ":" in name:
        if pretrained:
            raise UsageError(
                f"model.weights: pretrained is for timm/ and torchvision/; {name} loads its own, or file:PATH"
            )
        made = own_network(name, BACKBONES.get(name), channels, classes, model.options)
    else:
        options = {**model.options, "pretrained": True} if pretrained else model.options
        made = BACKBONES.get(name)(channels, **options)
    if isinstance(made, Backbone):
        if source.startswith("file:"):
            raise UsageError(f"model.weights: a file is for networks that are cut by their graph, not for {name}")
        return made
    assert isinstance(made, Network)
    backbone = cut_network(made.module, name, (channels, *size), wanted)
    own = backbone.own_head
    assert own is not None
    if source.startswith("file:"):
        path = _located(source.removeprefix("file:"))
        found = load_weights(made.module, read_weights(path), str(path), own.layers)
        own.trained = not found
        if notes is not None:
            notes += found
    else:
        own.trained = made.trained
    return backbone


def usual_size(model: Model) -> Size:
    """The size of images that a backbone is usually given, (height, width)."""
    defaults = input_defaults(model.backbone, model.options)
    if defaults and defaults.image_size:
        return defaults.image_size, defaults.image_size
    side = BACKBONES.constant(model.backbone, "IMAGE_SIZE", _USUAL_SIZE)
    if isinstance(side, Mapping):  # by the name of the network
        side = side.get(model.backbone, _USUAL_SIZE)
    return side, side


def _located(path: str) -> Path:
    try:
        return locate(path, "model.weights")
    except DataError as error:
        raise UsageError(f"model.weights: {error}") from error


def keeps_classifier(exits: Exits, backbone: Backbone) -> bool:
    """Whether the last exit is the network's own classifier. Raises UsageError where that is asked for but missing."""
    if exits.final == "own" and backbone.own_head is None:
        raise UsageError(
            "this backbone comes without a classifier; use exits.final: new, or timm/NAME or torchvision/NAME"
        )
    return exits.final != "new" and backbone.own_head is not None
