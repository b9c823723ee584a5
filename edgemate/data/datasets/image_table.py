"""Images listed in a table: a CSV or Parquet file of paths, labels and, optionally, splits."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from edgemate.data.datasets._file_splits import (
    SPLIT_NAMES,
    LabeledFiles,
    RandomTest,
    SplitName,
    require_enough,
    source_of_files,
)
from edgemate.data.datasets._tables import Table, read_table
from edgemate.data.root import locate
from edgemate.data.source import DataSource
from edgemate.errors import DataError
from edgemate.wording import counted

_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)


def image_table(
    *,
    path: str,
    root: str | None = None,
    path_column: str = "path",
    label_column: str = "label",
    split_column: str | None = None,
    channels: Literal[1, 3] = 3,
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2,
    test_seed: Annotated[int, Field(ge=0)] = 0,
) -> DataSource:
    """Images of any size, named in a CSV or Parquet file, one row per image.

    Labels are integers or strings. The classes are the labels of the training rows, sorted; by value if all are
    integers. Splits are train, val and test: with train and test, val is the calibration split; without test, val is
    the test split; without both, or without a split column, the test split is random.

    Args:
        path: the table: .csv, .tsv or .txt (UTF-8), or .parquet or .pq. Relative to the current folder or to the data
            root.
        root: folder that the images' paths are relative to; the table's by default. A path may be absolute.
        path_column: the column of the images' paths.
        label_column: the column of the labels.
        split_column: the column of the splits; `split` by default, if there is one.
        channels: 1 to convert to gray, 3 for RGB.
        test_fraction: of the images, for a random test split, stratified by class.
        test_seed: of a random test split.

    Raises:
        DataError: the table cannot be read, lacks a column or rows, names a file that is missing or one file twice,
            has a label or a split that is unknown, or has one class only.
    """
    located = locate(path)
    classes, splits = _read(located, root, path_column, label_column, split_column)
    return source_of_files(f"image_table {located}", classes, channels, splits, RandomTest(test_fraction, test_seed))


def check_image_table(
    *,
    path: str,
    root: str | None = None,
    path_column: str = "path",
    label_column: str = "label",
    split_column: str | None = None,
    **_: Any,
) -> None:
    """Check the table, and that the files exist that it names. Raises DataError."""
    located = locate(path)
    classes, splits = _read(located, root, path_column, label_column, split_column)
    most = int(np.bincount(splits["train"].labels).max())
    require_enough(f"image_table {located}", classes, most, splits, to_train=True)


@dataclass(frozen=True)
class _Row:
    """A row of the table: what it names, and its index."""

    index: int
    label: str
    split: SplitName
    file: Path


def _read(
    path: Path, root: str | None, path_column: str, label_column: str, split_column: str | None
) -> tuple[tuple[str, ...], dict[SplitName, LabeledFiles]]:
    """The class names, and the files of each split that has rows."""
    required = [path_column, label_column] + ([split_column] if split_column else [])
    table = read_table(path, required, [] if split_column else ["split"])
    splits = _splits(table, split_column or "split")
    if "train" not in splits:
        given = " and ".join(sorted(set(splits)))
        raise DataError(f"{path} has no training rows, only {given}; add rows whose split is train")
    labels = _labels(table, label_column)
    files = _files(table, path_column, _root(path, root))
    rows = [_Row(*row) for row in zip(range(len(files)), labels, splits, files, strict=True)]
    classes = _sorted_classes({row.label for row in rows if row.split == "train"})
    number = {name: k for k, name in enumerate(classes)}
    found: dict[SplitName, LabeledFiles] = {}
    for split in ("train", "val", "test"):
        own = [row for row in rows if row.split == split]
        for row in own:
            if row.label not in number:
                raise DataError(
                    f"{path} {table.place(row.index)}: label {row.label!r} is in {split}, but no training row has it; "
                    "add training rows of it or remove it"
                )
        if own:
            chosen: npt.NDArray[np.int64] = np.array([number[row.label] for row in own], dtype=np.int64)
            found[split] = LabeledFiles([row.file for row in own], chosen)
    return classes, found


def _splits(table: Table, column: str) -> list[SplitName]:
    if column not in table.columns:
        return ["train"] * len(table.numbers)
    found = []
    for row, value in enumerate(table.columns[column]):
        split = SPLIT_NAMES.get(value.strip().casefold()) if isinstance(value, str) else None
        if split is None:
            what = "is missing" if value is None or value == "" else f"is {value!r}"
            raise DataError(f"{table.path} {table.place(row)}: the {column} {what}; use train, val or test")
        found.append(split)
    return found


def _labels(table: Table, column: str) -> list[str]:
    found = []
    for row, value in enumerate(table.columns[column]):
        label = value.strip() if isinstance(value, str) else str(value) if isinstance(value, int) else ""
        if not label:
            what = "is missing" if value is None or isinstance(value, str) else f"is {value!r}"
            raise DataError(f"{table.path} {table.place(row)}: the {column} {what}; use an integer or a string")
        found.append(unicodedata.normalize("NFC", label))
    return found


def _sorted_classes(labels: set[str]) -> tuple[str, ...]:
    if all(_INTEGER.fullmatch(label) for label in labels):
        return tuple(sorted(labels, key=lambda label: (int(label), label)))
    return tuple(sorted(labels))


def _root(path: Path, root: str | None) -> Path:
    if root is None:
        return path.parent
    folder = locate(root, "data.options.root")
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; data.options.root is what the table's paths are relative to")
    return folder


def _files(table: Table, column: str, root: Path) -> list[Path]:
    """The files, with all of them checked to exist and to be named once."""
    first: dict[str, int] = {}
    files = []
    for row, value in enumerate(table.columns[column]):
        if not isinstance(value, str) or not value:
            what = f"is {value!r}" if value else "is missing"
            raise DataError(f"{table.path} {table.place(row)}: the {column} {what}; use the path of an image")
        # Written on Windows, a table may have backslashes.
        file = root / value.replace("\\", "/")
        key = os.path.normpath(file)
        if key in first:
            raise DataError(
                f"{table.path} {table.place(row)}: names {file}, as {table.place(first[key])} does; "
                "name each image once"
            )
        first[key] = row
        files.append(file)
    if missing := _missing(files):
        raise DataError(
            f"{table.path}: {len(missing):,} of {counted(len(files), 'file')} missing, the first one "
            f"{files[missing[0]]} ({table.place(missing[0])}); correct the paths, or set data.options.root to the "
            f"folder that they are relative to (now {root})"
        )
    return files


def _missing(files: Sequence[Path]) -> list[int]:
    """Indices of the files that do not exist. Folders are listed, which is much faster than to ask for every file."""
    folders: dict[Path, list[int]] = defaultdict(list)
    for place, file in enumerate(files):
        folders[file.parent].append(place)
    missing = []
    for folder, places in folders.items():
        try:
            names = {entry.name for entry in os.scandir(folder)}
        except (OSError, ValueError):  # a null character in a path is a ValueError
            names = set()
        # Asked for again: a file system may ignore case, or how a name is written in Unicode.
        missing += [i for i in places if files[i].name not in names and not _exists(files[i])]
    return sorted(missing)


def _exists(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:  # a name that is too long, or a folder that may not be searched
        return False
