"""What does not go together with `training.freeze: backbone`, found without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgemate import files
from edgemate.config import Training
from edgemate.config.signatures import class_constant
from edgemate.registry import METHODS

_NO_CACHE = "set training.cache_augmentations to 0, so that the backbone runs at every step"


def caches_features(training: Training) -> bool:
    """Whether a recipe with this section trains on cached features."""
    return training.freeze == "backbone" and training.cache_augmentations > 0


def freezing_problems(training: Training, methods: Sequence[str], rates: Mapping[str, float], cache: str) -> list[str]:
    """Settings and methods that a frozen backbone or cached features exclude, one sentence each.

    Args:
        training: the recipe's section.
        methods: names of the distillation methods.
        rates: key in `optimization` → factor on the backbone's learning rate.
    """
    if training.freeze != "backbone":
        return []
    problems = []
    if training.freeze_until is not None:
        problems.append("training.freeze_until: training.freeze=backbone leaves nothing after it to train; drop one")
    problems += [
        f"optimization.{name}: training.freeze=backbone leaves the backbone without a learning rate; leave it out"
        for name, factor in rates.items()
        if factor != 1
    ]
    for name in methods:
        if name in METHODS and not method_constant(name, "has_loss"):
            problems.append(
                f"distillation: {name} changes only gradients of the backbone, which training.freeze=backbone keeps as "
                "it is; leave it out"
            )
    return [*problems, *(_cache_problems(training, methods, cache) if caches_features(training) else ())]


def _cache_problems(training: Training, methods: Sequence[str], cache: str) -> list[str]:
    problems = []
    for name in methods:
        if any(method_constant(name, reason) for reason in ("needs_teacher", "reads_images", "uses_unlabeled")):
            problems.append(
                f"training.cache_augmentations: {name} reads the images, and cached features replace them; {_NO_CACHE}"
            )
    if training.compile:
        problems.append(f"training.compile: with cached features no backbone runs; set it to false, or {_NO_CACHE}")
    if cache == "device":
        problems.append(f"data.cache: cached features replace the images; leave it out, or {_NO_CACHE}")
    if training.cache_dir is not None:
        try:
            files.check_folder(Path(training.cache_dir).expanduser())
        except OSError as error:
            problems.append(f"training.cache_dir: {error.filename} cannot be written to: {error.strerror}")
    return problems


def method_constant(method: str, name: str) -> bool:
    """A class attribute of a method. Raises UsageError where there is no method of that name."""
    if method in METHODS:
        try:
            return bool(class_constant(*METHODS.place(method), name))
        except LookupError:
            pass
    return bool(getattr(METHODS.get(method), name, False))
