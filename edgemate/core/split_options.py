"""Which options of a dataset a bundle may name: those that say which images are its test split, never where they are.

The one list, used where a bundle is written and where it is read. What is not in it is refused, so a new option that
names a file or a folder is refused until somebody adds it here.
"""

from __future__ import annotations

from collections.abc import Mapping

_SKIP_DAMAGED = "skip_damaged"

# Datasets that a user's data root has under one name, with what decides their test split.
_ALLOWED: dict[str, frozenset[str]] = {
    "cifar10": frozenset(),
    "cifar100": frozenset(),
    "cub200": frozenset(),
    "digits": frozenset({"test_fraction", "test_seed"}),
    "fashion_mnist": frozenset(),
    "fgvc_aircraft": frozenset({"level"}),
    "imagenet": frozenset(),
    "imagenette": frozenset(),
    "stanford_dogs": frozenset(),
    "tiny_imagenet": frozenset(),
    "trashnet": frozenset(),
}


def is_nameable(dataset: str) -> bool:
    """Whether a bundle may name this dataset: a registered one that every data root has in the same place."""
    return dataset in _ALLOWED


def allowed_options(dataset: str) -> frozenset[str]:
    """The options that a bundle may name beside `dataset`; none for one that it may not name."""
    found = _ALLOWED.get(dataset)
    return frozenset() if found is None else found | {_SKIP_DAMAGED}


def refused_option(dataset: str, options: Mapping[str, object]) -> str | None:
    """The first of these options that a bundle may not name; None if it may name them all."""
    return next((key for key in options if key not in allowed_options(dataset)), None)
