"""Names of the networks of other libraries."""

from __future__ import annotations

from collections.abc import Callable


def library_names(prefix: str, pattern: str = "*") -> list[str]:
    """Names with their prefix, sorted, whose rest matches a pattern such as `efficientnet*`.

    A pattern with a dot is one for names with the tag of their weights, where the library has such names.

    Raises:
        UsageError: the library is not installed.
    """
    return [prefix + name for name in _LISTS[prefix](pattern)]


def _timm(pattern: str) -> list[str]:
    from edgemate.models.networks.timm_networks import timm_names, timm_tagged_names

    return timm_tagged_names(pattern) if "." in pattern else timm_names(pattern)


def _torchvision(pattern: str) -> list[str]:
    from edgemate.models.networks.torchvision_networks import torchvision_names

    return torchvision_names(pattern)


_LISTS: dict[str, Callable[[str], list[str]]] = {"timm/": _timm, "torchvision/": _torchvision}
