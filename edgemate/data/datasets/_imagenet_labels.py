"""Labels of ImageNet's validation images, and names of its classes, from the files that are published beside them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgemate.data.datasets._matlab import read_mat
from edgemate.data.datasets._official import FileNames, images_in, read_lines, rows
from edgemate.data.source import FileImages
from edgemate.errors import DataError

_META, _TRUTH = "meta.mat", "ILSVRC2012_validation_ground_truth.txt"
_KIT = ("ILSVRC2012_devkit_t12/data", "")
_SOLUTION, _MAPPING, _WORDS = "LOC_val_solution.csv", "LOC_synset_mapping.txt", "words.txt"


def has_labels(folder: Path) -> bool:
    """Whether the labels of validation images without class folders are there."""
    return (folder / _SOLUTION).is_file() or _kit_files(folder, _META, _TRUTH) is not None


def flat_validation(folder: Path, val: Path, label_of: Mapping[str, int]) -> FileImages:
    """The validation images, all directly in one folder.

    Args:
        folder: of the dataset, with Kaggle's or the development kit's files.
        val: holds the images.
        label_of: synset id → label.

    Raises:
        DataError: a list is damaged, an image has no label, its class is unknown, or a class has no images.
    """
    if (folder / _SOLUTION).is_file():
        source, id_of = folder / _SOLUTION, _kaggle_ids(folder / _SOLUTION)
    else:
        source, id_of = _kit_ids(folder)
    names = images_in(val)
    if not names:
        raise DataError(f"{val}: has no images; unpack the dataset again")
    labels = []
    for name in names:
        key = id_of.get(name.partition(".")[0])
        if key is None:
            raise DataError(f"{val / name}: has no label in {source}; remove it or unpack the dataset again")
        if key not in label_of:
            raise DataError(f"{val / name}: is of class {key}, which has no folder in train/; unpack train/ completely")
        labels.append(label_of[key])
    absent = set(label_of.values()).difference(labels)
    if absent:
        key = next(key for key, label in label_of.items() if label in absent)
        raise DataError(f"{val}: has no images of class {key}, which train/ has; unpack the dataset again")
    return FileImages(FileNames(val, names), np.asarray(labels, dtype=np.int64), 3)


def synset_words(folder: Path) -> dict[str, str]:
    """Synset id → its words, separated by commas; empty if no file beside the images says so. Raises DataError."""
    if (folder / _MAPPING).is_file():
        return dict(rows(folder / _MAPPING, "ID WORDS"))
    if (folder / _WORDS).is_file():
        return dict(rows(folder / _WORDS, "ID WORDS", "\t"))
    found = _kit_files(folder, _META)
    return {} if found is None else dict(_synsets(found[0]).values())


def _kaggle_ids(path: Path) -> dict[str, str]:
    """Image without suffix → synset id; a prediction is an id and a box, several times."""
    found = {}
    for row in csv.reader(read_lines(path)):
        if len(row) != 2 or not row[1].split():
            raise DataError(f"{path}: {','.join(row)!r} is not a name and a prediction; unpack the dataset again")
        found[row[0]] = row[1].split()[0]
    return found


def _kit_ids(folder: Path) -> tuple[Path, dict[str, str]]:
    """The ground truth, and image without suffix → synset id. Line n is about image n."""
    found = _kit_files(folder, _META, _TRUTH)
    if found is None:
        raise DataError(f"{folder / _KIT[0] / _TRUTH}: no such file, nor {_META} beside it")
    meta, truth = found
    synsets = _synsets(meta)
    ids = {}
    for number, line in enumerate(read_lines(truth), 1):
        if not line.isdecimal() or int(line) not in synsets:
            raise DataError(f"{truth}, line {number}: {line!r} is not a class of {meta}; unpack the kit again")
        ids[f"ILSVRC2012_val_{number:08d}"] = synsets[int(line)][0]
    return truth, ids


def _synsets(meta: Path) -> dict[int, tuple[str, str]]:
    """The kit's number of a class → synset id and words."""
    (synsets,) = read_mat(meta, "synsets")
    fields = ("ILSVRC2012_ID", "WNID", "words")
    if any(name not in (synsets.dtype.names or ()) for name in fields):
        raise DataError(f"{meta}: synsets lacks one of {', '.join(fields)}; unpack the kit again")
    columns: list[Any] = [synsets[name].tolist() for name in fields]
    return {int(number): (str(key), str(words)) for number, key, words in zip(*columns, strict=True)}


def _kit_files(folder: Path, *names: str) -> list[Path] | None:
    """The files of the development kit, in its folder or directly beside the images; None if one is missing."""
    for place in _KIT:
        found = [folder / place / name for name in names]
        if all(path.is_file() for path in found):
            return found
    return None
