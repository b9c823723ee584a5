"""From image files with labels and named splits to a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgemate.data.seeding import Purpose
from edgemate.data.source import DataSource, FileImages
from edgemate.data.splits import hold_out
from edgemate.errors import DataError
from edgemate.wording import counted

SplitName = Literal["train", "val", "test"]

SPLIT_NAMES: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""What people call the splits, in lower case."""


@dataclass(frozen=True, eq=False)
class LabeledFiles:
    """N files and their labels.

    Attributes:
        paths: one per image.
        labels: class indices, int64 (N,).
    """

    paths: Sequence[Path]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class RandomTest:
    """How a test split is made where a dataset has none.

    Attributes:
        fraction: of the training images, stratified by class.
        seed: not negative.
    """

    fraction: float
    seed: int


def source_of_files(
    name: str,
    classes: tuple[str, ...],
    channels: Literal[1, 3],
    splits: Mapping[SplitName, LabeledFiles],
    random_test: RandomTest,
    ignored: tuple[Path, ...] = (),
) -> DataSource:
    """The dataset of files whose splits are named.

    - train, val and test: val is the calibration split.
    - train and test: the calibration split is held out of train, as the recipe says.
    - train and val: val is the test split, and the calibration split is held out of train.
    - train: the test split is made by `random_test`, and the calibration split is held out of the rest.

    Args:
        name: of the dataset, for messages.
        classes: class names.
        channels: 1 to decode to gray, 3 for RGB.
        splits: with at least train.
        random_test: of the test split, where there is neither test nor val.
        ignored: see `DataSource`.

    Raises:
        DataError: there are too few classes or images.
    """
    train = splits["train"]
    most = int(np.bincount(train.labels, minlength=1).max()) if len(train.labels) else 0
    require_enough(name, classes, most, splits, to_train=False)
    calibration = None
    notes: tuple[str, ...] = ()
    if "test" in splits:
        test = splits["test"]
        if "val" in splits:
            calibration = np.arange(len(splits["val"].paths), dtype=np.int64) + len(train.paths)
            train = LabeledFiles(
                [*train.paths, *splits["val"].paths], np.concatenate([train.labels, splits["val"].labels])
            )
    elif "val" in splits:
        test = splits["val"]
        notes = (f"{name} has no test split: val is the test split",)
    else:
        kept, held = hold_out(train.labels, random_test.fraction, Purpose.TEST_SPLIT, random_test.seed)
        test = LabeledFiles([train.paths[i] for i in held], train.labels[held])
        train = LabeledFiles([train.paths[i] for i in kept], train.labels[kept])
        made = f"{counted(len(held), 'image')} of {len(kept) + len(held):,}, chosen at random by class"
        notes = (f"{name} has no test split: it is {made}",)
    return DataSource(
        name=name,
        classes=classes,
        channels=channels,
        train=FileImages(train.paths, train.labels, channels),
        test=FileImages(test.paths, test.labels, channels),
        calibration=calibration,
        ignored=ignored,
        notes=notes,
    )


def require_enough(
    name: str, classes: Sequence[str], most: int, splits: Mapping[SplitName, object], *, to_train: bool
) -> None:
    """Require two classes, and that some class has an image for each split that is made of the training images.

    Args:
        name: of the dataset, for messages.
        classes: class names.
        most: images of the largest class in train; where there are 3 or more, 3 will do.
        splits: those that the dataset has; the values are not used.
        to_train: a calibration split is needed too; a device that reads the test split needs none.

    Raises:
        DataError: there is less.
    """
    if len(classes) < 2:
        only = f"one class only ({classes[0]})" if classes else "no classes"
        raise DataError(f"{name} has {only}; a classifier needs two or more")
    parts = ["training"]
    if to_train and not {"val", "test"} <= splits.keys():
        parts.append("calibration")
    if splits.keys() == {"train"}:
        parts.append("test")
    if most < len(parts):
        raise DataError(
            f"{name}: no class has {len(parts)} training images, one each for {', '.join(parts[:-1])} and {parts[-1]}; "
            "add images"
        )
