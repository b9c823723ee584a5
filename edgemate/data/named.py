"""A dataset as a bundle names it: what is kept of its options, and the test split found again by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from edgemate.config.options import part_options
from edgemate.data.loading import load_source
from edgemate.data.root import data_root
from edgemate.errors import DataError
from edgemate.registry import DATASETS

if TYPE_CHECKING:
    from edgemate.data.source import Images

# Where the images lie is a machine's own affair; which of them are test images is not.
_OF_THE_MACHINE = ("root", "download")


def portable_options(name: str, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """The options that decide which images a dataset's test split has, to be kept elsewhere.

    A path inside the data root is kept relative to it, so that another machine finds it in its own.

    Args:
        name: of the dataset. None is returned for a user's own part, which nothing but a recipe may name.
        options: its options.
    """
    if name not in DATASETS:
        return None
    kept = {key: value for key, value in options.items() if key not in _OF_THE_MACHINE}
    if isinstance(kept.get("path"), str):
        kept["path"] = _from_root(kept["path"])
    return kept


def named_test_split(name: str, options: Mapping[str, Any] | None, classes: Sequence[str]) -> Images:
    """The test split of the dataset that a file from elsewhere names.

    Such a file is not trusted: of all names that a recipe may use, only registered datasets are loaded.

    Args:
        name: of the dataset.
        options: as `portable_options` gave them; None where they are not known.
        classes: what the dataset's classes must be.

    Raises:
        DataError: no dataset is registered under that name, its options are not known or are none of its own, it
            is unavailable here, or it has other classes.
    """
    if name not in DATASETS:
        raise DataError(f"{name!r} is no registered dataset, and no other is loaded because a file names it")
    if options is None:
        raise DataError(f"with which options {name} was split is not known; export the run again to have them kept")
    try:
        part_options(DATASETS, name).model_validate(dict(options))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DataError(f"{name}: option {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    source = load_source(name, options)
    if tuple(source.classes) != tuple(classes):
        raise DataError(
            f"{source.name} has other classes here: {', '.join(source.classes[:5])} … instead of "
            f"{', '.join(classes[:5])} …"
        )
    return source.test


def _from_root(path: str) -> str:
    given, root = Path(path).expanduser(), data_root(None)
    if not given.is_absolute() or not given.resolve().is_relative_to(root.resolve()):
        return path
    return given.resolve().relative_to(root.resolve()).as_posix()
