"""How images are prepared for the pretrained weights of a backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgemate.models.networks.network import InputDefaults
from edgemate.registry import BACKBONES


def input_defaults(backbone: str, options: Mapping[str, Any] = {}) -> InputDefaults | None:
    """How a library prepares images for a backbone's weights; None for other backbones.

    Args:
        backbone: `model.backbone`.
        options: `model.options`.

    Raises:
        UsageError: the library does not have the network.
    """
    found = BACKBONES.library(backbone)
    return None if found is None else _READERS[found[0]](found[1], options)


def _timm(name: str, options: Mapping[str, Any]) -> InputDefaults | None:
    from edgemate.models.networks.timm_networks import timm_input

    return timm_input(name)


def _torchvision(name: str, options: Mapping[str, Any]) -> InputDefaults | None:
    from edgemate.models.networks.torchvision_networks import torchvision_input

    return torchvision_input(name, options.get("arguments", {}))


_READERS: dict[str, Callable[[str, Mapping[str, Any]], InputDefaults | None]] = {
    "timm/": _timm,
    "torchvision/": _torchvision,
}
