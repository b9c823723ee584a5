"""A recipe's data section, made real."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgemate.data.input_facts import InputFacts, Interpolation, plan_input
from edgemate.data.loaders import PictureLoader, evaluation_loader, train_loader
from edgemate.data.source import DataSource
from edgemate.data.splits import Splits, split
from edgemate.data.statistics import channel_statistics
from edgemate.data.transforms import EvaluationTransform, TrainingTransform
from edgemate.errors import DataError
from edgemate.registry import AUGMENTATIONS, DATA_SETS


@dataclass(frozen=True, eq=False)
class Data:
    """A data set, split and ready to load.

    Attributes:
        source: the data set.
        splits: indices into it.
        facts: of the network's input.
        transform: the training pictures'.
        batch_size: pictures per batch.
        workers: processes that prepare batches.
        seed: of the training order and augmentation.
    """

    source: DataSource
    splits: Splits
    facts: InputFacts
    transform: TrainingTransform
    batch_size: int
    workers: int
    seed: int

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; a label is an index into them."""
        return self.source.classes

    def train_loader(self, rank: int = 0, replicas: int = 1) -> PictureLoader:
        """Shuffled, augmented batches; see `edgemate.data.loaders.train_loader`."""
        return train_loader(
            self.source.train,
            self.splits.train,
            self.transform,
            batch_size=self.batch_size,
            seed=self.seed,
            workers=self.workers,
            rank=rank,
            replicas=replicas,
        )

    def calibration_loader(self) -> PictureLoader:
        """The calibration split, in order."""
        return self._evaluation_loader("calibration")

    def test_loader(self) -> PictureLoader:
        """The test split, in order."""
        return self._evaluation_loader("test")

    def _evaluation_loader(self, name: Literal["calibration", "test"]) -> PictureLoader:
        pictures = self.source.test if name == "test" else self.source.train
        return evaluation_loader(
            pictures,
            getattr(self.splits, name),
            EvaluationTransform(self.facts),
            batch_size=self.batch_size,
            workers=self.workers,
        )


def build_data(
    name: str,
    *,
    options: Mapping[str, Any] | None = None,
    image_size: int | None = None,
    resize: Literal["stretch", "shorter_side"] | None = None,
    resize_to: int | None = None,
    interpolation: Interpolation = "bilinear",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    calibration_fraction: float = 0.1,
    split_seed: int = 0,
    train_limit: int | None = None,
    augmentation: Sequence[tuple[str, Mapping[str, Any]]] = (),
    batch_size: int = 128,
    workers: int = 0,
    seed: int = 0,
) -> Data:
    """Load a data set, split it and make ready to load it.

    Args:
        name: registered data set, or the dotted path of a factory that returns a DataSource.
        options: the data set's.
        image_size: see `plan_input`, as for the next three.
        resize: how pictures reach image_size.
        resize_to: the shorter side before the centre crop.
        interpolation: PIL's filter.
        mean: per channel, of pixels in [0, 1]; measured on the training split if None.
        std: beside the mean: both or neither.
        calibration_fraction: see `split`, as for the next two.
        split_seed: draws the calibration split.
        train_limit: use only so many training pictures.
        augmentation: names and options, in order.
        batch_size: pictures per batch.
        workers: processes that prepare batches.
        seed: of the training order and augmentation.

    Raises:
        DataError: the data set is missing or damaged, or the options do not fit it.
        UsageError: a name is unknown, or an option is out of range.
    """
    if (mean is None) != (std is None):
        raise DataError("data.mean and data.std stand together: set both, or neither to have them measured")
    source = load_source(name, options)
    facts = plan_input(source, image_size, resize, resize_to, interpolation)
    splits = split(source, calibration_fraction, split_seed, train_limit)
    if mean is None or std is None:
        mean, std = channel_statistics(source.train, splits.train, facts, split_seed)
    facts = facts.with_normalisation(mean, std)
    augmentations = [AUGMENTATIONS.get(part)(facts, **part_options) for part, part_options in augmentation]
    return Data(source, splits, facts, TrainingTransform(facts, augmentations), batch_size, workers, seed)


def load_source(name: str, options: Mapping[str, Any] | None = None) -> DataSource:
    """The data set of that name. Raises UsageError where the name is unknown and DataError where it cannot be had."""
    source = DATA_SETS.get(name)(**(options or {}))
    if not isinstance(source, DataSource):
        raise DataError(f"data set {name} gives a {type(source).__name__}; an edgemate.data.DataSource is needed")
    return source
