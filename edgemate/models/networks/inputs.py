"""How images are prepared for the pretrained weights of a backbone."""

from __future__ import annotations

from collections.abc import Callable

from edgemate.models.networks.network import InputDefaults
from edgemate.registry import BACKBONES


def input_defaults(backbone: str) -> InputDefaults | None:
    """How a library prepares images for a backbone's weights; None for other backbones.

    Raises:
        UsageError: the library does not have the network.
    """
    found = BACKBONES.library(backbone)
    return None if found is None else _READERS[found[0]](found[1])


def _timm(name: str) -> InputDefaults | None:
    from edgemate.models.networks.timm_networks import timm_input

    return timm_input(name)


def _torchvision(name: str) -> InputDefaults | None:
    from edgemate.models.networks.torchvision_networks import torchvision_input

    return torchvision_input(name)


_READERS: dict[str, Callable[[str], InputDefaults | None]] = {"timm/": _timm, "torchvision/": _torchvision}
