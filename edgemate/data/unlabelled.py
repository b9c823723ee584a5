"""A second domain: pictures that training sees without their labels, and a test split to judge the adaptation on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torchvision.transforms import v2

from edgemate.data.corrupted import CorruptedPictures
from edgemate.data.corruption import Corruption
from edgemate.data.input_facts import InputFacts
from edgemate.data.seeding import Purpose, permutation
from edgemate.data.source import DataSource, Pictures
from edgemate.data.splits import hold_out, tested_indices
from edgemate.data.transforms import TrainingTransform
from edgemate.errors import DataError
from edgemate.registry import CORRUPTIONS

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TargetPlan:
    """What a recipe's `data.unlabelled` section says.

    Attributes:
        name: registered data set; None for the same one as the labelled pictures', whose training split is then parted
            between the domains, so that no picture is in both.
        options: the data set's.
        corruptions: names and options, in order.
        share: of the training split that becomes the target's where it is parted.
        limit: use only so many unlabelled pictures.
        per_batch: unlabelled pictures in a batch; as many as there are labelled ones if None.
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
        facts: of the network's input: the source's normalisation, and its own way to the source's size.
        transform: the unlabelled pictures'; it has the source's augmentations.
        train: the unlabelled pictures; every label is −1.
        test: the test pictures with their labels, for the final figures.
        per_batch: unlabelled pictures in a batch; as many as there are labelled ones if None.
    """

    facts: InputFacts
    transform: TrainingTransform
    train: Pictures
    test: Pictures
    per_batch: int | None


def part(labels: Indices, train: Indices, share: float, seed: int) -> tuple[Indices, Indices]:
    """Part the training split between the domains, by class, so that their classes have the same shares.

    Args:
        labels: of all training pictures, int64 (N,).
        train: the training split's indices into them.
        share: of the target domain, between 0 and 1.
        seed: not negative.

    Returns:
        Sorted indices of the source's pictures and of the target's, disjoint.

    Raises:
        DataError: no class has two pictures.
    """
    kept, held = hold_out(labels[train], share, Purpose.DOMAINS, seed)
    if len(held) == 0:
        raise DataError("data.unlabelled: no class has two training pictures, so the data set cannot be parted in two")
    return train[kept], train[held]


def unlabelled_indices(plan: TargetPlan, domain: DataSource, indices: Indices | None, seed: int) -> Indices:
    """Sorted indices (N,) of the unlabelled pictures.

    Args:
        plan: what the recipe says.
        domain: the data set that the target's pictures come from.
        indices: the part of its training pictures that they are chosen from; all of them if None.
        seed: draws those that `plan.limit` keeps, which no label decides.
    """
    chosen = np.arange(len(domain.train), dtype=np.int64) if indices is None else indices
    if plan.limit is not None:
        chosen = np.sort(chosen[permutation(len(chosen), Purpose.UNLABELLED_LIMIT, seed)[: plan.limit]])
    return chosen


def build_target(
    plan: TargetPlan,
    domain: DataSource,
    chosen: Indices,
    facts: InputFacts,
    augmentations: Sequence[v2.Transform],
    seed: int,
    test_limit: int | None = None,
) -> Target:
    """The target domain of a plan.

    Args:
        plan: what the recipe says.
        domain: the data set that the target's pictures come from.
        chosen: which of its training pictures, as `unlabelled_indices` gives them.
        facts: of this domain's pictures: their resize, and the source's normalisation.
        augmentations: the source's.
        seed: draws the corruptions.
        test_limit: see `edgemate.data.tested_indices`.

    Raises:
        DataError: a corruption gives something else than pictures.
        UsageError: a corruption is unknown, or an option is out of range.
    """
    corruptions: list[Corruption] = [CORRUPTIONS.get(name)(**options) for name, options in plan.corruptions]
    unknown = np.full(len(chosen), -1, np.int64)
    tested = tested_indices(domain.test.labels, test_limit)
    return Target(
        facts,
        TrainingTransform(facts, augmentations),
        CorruptedPictures(domain.train, chosen, unknown, corruptions, (seed, 0)),
        CorruptedPictures(domain.test, tested, domain.test.labels[tested], corruptions, (seed, 1)),
        plan.per_batch,
    )


def require_same_size(facts: InputFacts, target_facts: InputFacts) -> None:
    """The network sees pictures of one size. Raises DataError where the domains' differ."""
    wanted, found = (facts.height, facts.width), (target_facts.height, target_facts.width)
    if wanted != found:
        raise DataError(
            f"data.unlabelled.name: its pictures are {found[0]} × {found[1]}, those of data.name "
            f"{wanted[0]} × {wanted[1]}; set data.image_size to bring both to one size"
        )
