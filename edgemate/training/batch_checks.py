"""What does not go together with mixed batches, repeated augmentation and class weights, found without torch."""

from __future__ import annotations

from collections.abc import Sequence

from edgemate.config import Data, Training
from edgemate.training.freezing_checks import caches_features, method_constant

_NO_CACHE = "set training.cache_augmentations to 0, so that the backbone runs at every step"


def batch_problems(
    data: Data, training: Training, methods: Sequence[str], *, batch_size: int, weighs_classes: bool
) -> list[str]:
    """Settings and methods that exclude one of these, one sentence each.

    Args:
        data: the recipe's section.
        training: likewise.
        methods: names of the distillation methods.
        batch_size: images in a batch.
        weighs_classes: the recipe has class weights.
    """
    mixing = [name for name in ("mixup", "cutmix") if getattr(data, name) is not None]
    problems = _mixing_problems(" and data.".join(mixing), training, methods) if mixing else []
    repeats, size = data.repeats, batch_size
    if size % repeats:
        fitting = max(repeats, size - size % repeats)
        problems.append(
            f"data.repeats: a batch of {size} images does not hold every image {repeats} times; "
            f"set optimization.batch_size to {fitting}, say"
        )
    if repeats > 1 and caches_features(training):
        problems.append(f"data.repeats: cached features are of one augmentation per epoch; {_NO_CACHE}")
    if weighs_classes:
        problems += [
            f"optimization.class_weights: {method} does not weigh classes; set it to none"
            for method in methods
            if not method_constant(method, "weighs_classes")
        ]
    return problems


def _mixing_problems(name: str, training: Training, methods: Sequence[str]) -> list[str]:
    problems = []
    if caches_features(training):
        problems.append(f"data.{name}: cached features replace the images to be mixed; {_NO_CACHE}")
    for method in methods:
        if method_constant(method, "uses_unlabeled"):
            problems.append(f"data.{name}: {method} learns from images without labels too, which cannot be mixed")
        elif method_constant(method, "keeps_state"):
            problems.append(
                f"data.{name}: mixing calls {method} twice per batch, which {method} counts as two steps; leave it out"
            )
    return problems
