"""A second domain: images that training sees without their labels, and a test split to judge the adaptation on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torchvision.transforms import v2

from edgemate.data.corrupted import CorruptedImages
from edgemate.data.corruption import Corruption
from edgemate.data.input_spec import InputSpec
from edgemate.data.seeding import Purpose, permutation
from edgemate.data.source import DataSource, Images
from edgemate.data.splits import hold_out, tested_indices
from edgemate.data.transforms import TrainingTransform
from edgemate.errors import DataError
from edgemate.registry import CORRUPTIONS

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TargetPlan:
    """What a recipe's `data.unlabeled` section says.

    Attributes:
        name: registered dataset; None for the same one as the labeled images', whose training split is then split
            between the domains, so that no image is in both.
        options: the dataset's.
        corruptions: names and options, in order.
        share: of the training split that becomes the target's where it is split.
        limit: use only so many unlabeled images.
        per_batch: unlabeled images in a batch; as many as there are labeled ones if None.
    """

    name: str | None = None
    options: Mapping[str, Any] | None = None
    corruptions: Sequence[tuple[str, Mapping[str, Any]]] = ()
    share: float = 0.5
    limit: int | None = None
    per_batch: int | None = None


@dataclass(frozen=True, eq=False)
class Target:
    """The target domain, ready to load.

    Attributes:
        spec: of the network's input: the source's normalization, and its own way to the source's size.
        transform: the unlabeled images'; it has the source's augmentations.
        train: the unlabeled images; every label is −1.
        test: the test images with their labels, for the final figures.
        per_batch: unlabeled images in a batch; as many as there are labeled ones if None.
    """

    spec: InputSpec
    transform: TrainingTransform
    train: Images
    test: Images
    per_batch: int | None


def part(labels: Indices, train: Indices, share: float, seed: int) -> tuple[Indices, Indices]:
    """Part the training split between the domains, by class, so that their classes have the same fractions.

    Args:
        labels: of all training images, int64 (N,).
        train: the training split's indices into them.
        share: of the target domain, between 0 and 1.
        seed: not negative.

    Returns:
        Sorted indices of the source's images and of the target's, disjoint.

    Raises:
        DataError: no class has two images.
    """
    kept, held = hold_out(labels[train], share, Purpose.DOMAINS, seed)
    if len(held) == 0:
        raise DataError("data.unlabeled: no class has two training images, so the dataset cannot be split in two")
    return train[kept], train[held]


def unlabeled_indices(plan: TargetPlan, domain: DataSource, indices: Indices | None, seed: int) -> Indices:
    """Sorted indices (N,) of the unlabeled images.

    Args:
        plan: what the recipe says.
        domain: the dataset that the target's images come from.
        indices: the part of its training images that they are chosen from; all of them if None.
        seed: draws those that `plan.limit` keeps, which no label decides.
    """
    chosen = np.arange(len(domain.train), dtype=np.int64) if indices is None else indices
    if plan.limit is not None:
        chosen = np.sort(chosen[permutation(len(chosen), Purpose.UNLABELED_LIMIT, seed)[: plan.limit]])
    return chosen


def build_target(
    plan: TargetPlan,
    domain: DataSource,
    chosen: Indices,
    spec: InputSpec,
    augmentations: Sequence[v2.Transform],
    seed: int,
    test_limit: int | None = None,
) -> Target:
    """The target domain of a plan.

    Args:
        plan: what the recipe says.
        domain: the dataset that the target's images come from.
        chosen: which of its training images, as `unlabeled_indices` gives them.
        spec: of this domain's images: their resize, and the source's normalization.
        augmentations: the source's.
        seed: draws the corruptions.
        test_limit: see `edgemate.data.tested_indices`.

    Raises:
        DataError: a corruption gives something else than images.
        UsageError: a corruption is unknown, or an option is out of range.
    """
    corruptions: list[Corruption] = [CORRUPTIONS.get(name)(**options) for name, options in plan.corruptions]
    unknown = np.full(len(chosen), -1, np.int64)
    tested = tested_indices(domain.test.labels, test_limit)
    return Target(
        spec,
        TrainingTransform(spec, augmentations),
        CorruptedImages(domain.train, chosen, unknown, corruptions, (seed, 0)),
        CorruptedImages(domain.test, tested, domain.test.labels[tested], corruptions, (seed, 1)),
        plan.per_batch,
    )


def require_same_size(spec: InputSpec, target_spec: InputSpec) -> None:
    """The network sees images of one size. Raises DataError where the domains' differ."""
    wanted, found = (spec.height, spec.width), (target_spec.height, target_spec.width)
    if wanted != found:
        raise DataError(
            f"data.unlabeled.name: its images are {found[0]} × {found[1]}, those of data.name "
            f"{wanted[0]} × {wanted[1]}; set data.image_size to bring both to one size"
        )
