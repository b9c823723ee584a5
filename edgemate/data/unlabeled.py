"""A second domain: images without labels for training, and a labeled test split to measure the adaptation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torchvision.transforms import v2

from edgemate.config import Data, Unlabeled
from edgemate.core.input_spec import InputSpec
from edgemate.data.augmenting import make_corruptions
from edgemate.data.corrupted import CorruptedImages
from edgemate.data.input_plan import plan_input
from edgemate.data.seeding import Purpose, permutation
from edgemate.data.source import DataSource, Images
from edgemate.data.splits import hold_out, tested_indices
from edgemate.data.transforms import TrainingTransform
from edgemate.errors import DataError

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Target:
    """The target domain, ready to load.

    Attributes:
        spec: of the network's input: the source's normalization and size, and the target's own resize.
        transform: of the unlabeled images, with the source's augmentations.
        train: the unlabeled images; every label is −1.
        test: the test images with their labels, for the final metrics.
        per_batch: unlabeled images in a batch; as many as there are labeled ones if None.
    """

    spec: InputSpec
    transform: TrainingTransform
    train: Images
    test: Images
    per_batch: int | None


def split_domains(labels: Indices, train: Indices, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Split the training split between the domains, by class, so that both have the same class fractions.

    Args:
        labels: of all training images, int64 (N,).
        train: indices of the training split, int64 (n,).
        fraction: of the training split, for the target domain; between 0 and 1.
        seed: not negative.

    Returns:
        Sorted indices of the source's images and of the target's, disjoint.

    Raises:
        DataError: no class has two images.
    """
    kept, held = hold_out(labels[train], fraction, Purpose.DOMAINS, seed)
    if len(held) == 0:
        raise DataError("data.unlabeled: no class has two training images, so the dataset cannot be split in two")
    return train[kept], train[held]


def unlabeled_indices(section: Unlabeled, domain: DataSource, indices: Indices | None, seed: int) -> Indices:
    """Sorted indices of the unlabeled images, int64 (N,).

    Args:
        section: the recipe's.
        domain: the dataset of the target's images.
        indices: candidates among its training images; all of them if None.
        seed: of the random choice that `section.limit` makes, without regard to labels.
    """
    chosen = np.arange(len(domain.train), dtype=np.int64) if indices is None else indices
    if section.limit is not None:
        chosen = np.sort(chosen[permutation(len(chosen), Purpose.UNLABELED_LIMIT, seed)[: section.limit]])
    return chosen


def build_target(
    section: Data, domain: DataSource, chosen: Indices, spec: InputSpec, augmentations: Sequence[v2.Transform]
) -> Target:
    """The target domain of a recipe's data section, which has an `unlabeled` section.

    Args:
        section: the recipe's. Its split_seed also seeds the corruptions.
        domain: the dataset of the target's images.
        chosen: indices of its training images, as `unlabeled_indices` returns them.
        spec: of the source's input. The target is normalized the same way, and resized by its own rule.
        augmentations: the source's.

    Raises:
        DataError: the domains' images differ in size.
        UsageError: a corruption is unknown, or an option is out of range.
    """
    unlabeled = section.unlabeled or Unlabeled()
    target_spec = plan_input(domain, section).with_normalization(spec.mean, spec.std)
    _require_same_size(spec, target_spec)
    corruptions = make_corruptions(unlabeled.corruptions)
    unknown = np.full(len(chosen), -1, np.int64)
    tested = tested_indices(domain.test.labels, section.test_limit)
    return Target(
        target_spec,
        TrainingTransform(target_spec, augmentations),
        CorruptedImages(domain.train, chosen, unknown, corruptions, (section.split_seed, 0)),
        CorruptedImages(domain.test, tested, domain.test.labels[tested], corruptions, (section.split_seed, 1)),
        unlabeled.per_batch,
    )


def _require_same_size(spec: InputSpec, target_spec: InputSpec) -> None:
    wanted, found = (spec.height, spec.width), (target_spec.height, target_spec.width)
    if wanted != found:
        raise DataError(
            f"data.unlabeled.name: its images are {found[0]} × {found[1]}, those of data.name "
            f"{wanted[0]} × {wanted[1]}; set data.image_size to bring both to one size"
        )
