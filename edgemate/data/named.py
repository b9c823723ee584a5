"""A dataset as a bundle names it: its portable options, and its test split loaded by them."""

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

# Where the images are differs between machines; which of them are test images does not.
_OF_THE_MACHINE = ("root", "download")


def portable_options(name: str, options: Mapping[str, Any], skip_damaged: bool = False) -> dict[str, Any] | None:
    """The options that determine the images of a dataset's test split, to be stored elsewhere.

    A path inside the data root is stored relative to it, so that another machine finds it in its own data root.

    Args:
        name: of the dataset.
        options: of the dataset.
        skip_damaged: damaged files are left out; stored beside the options if so.

    Returns:
        The options; None for a user's own dataset, which only a recipe may name.
    """
    if name not in DATASETS:
        return None
    # A root beside a path says what paths in that file are relative to, not where the machine keeps its datasets.
    own = ("path", "root") if "path" in options else ("path",)
    kept = {key: value for key, value in options.items() if key not in _OF_THE_MACHINE or key in own}
    for key in own:
        if isinstance(kept.get(key), str):
            kept[key] = _from_root(kept[key])
    return kept | {"skip_damaged": True} if skip_damaged else kept


def named_test_split(name: str, options: Mapping[str, Any] | None, classes: Sequence[str]) -> Images:
    """The test split of a dataset that an untrusted file names.

    Only registered datasets are loaded, not the dotted paths that a recipe may use.

    Args:
        name: of the dataset.
        options: as `portable_options` returned them; None if unknown.
        classes: the expected class names.

    Raises:
        DataError: the name is not registered, the options are unknown or invalid, the dataset is unavailable, or it
            has other classes.
    """
    if name not in DATASETS:
        raise DataError(
            f"{name!r} is not a registered dataset; only registered datasets are loaded by name from a file"
        )
    if options is None:
        raise DataError(f"{name}: the options of its split are not stored; export the run again to store them")
    given = dict(options)
    skip_damaged = given.pop("skip_damaged", False) is True
    try:
        part_options(DATASETS, name).model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DataError(f"{name}: option {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    source = load_source(name, given, skip_damaged=skip_damaged)
    if tuple(source.classes) != tuple(classes):
        raise DataError(
            f"{source.name}: its classes are {', '.join(source.classes[:5])} … instead of {', '.join(classes[:5])} …"
        )
    return source.test


def _from_root(path: str) -> str:
    given, root = Path(path).expanduser(), data_root(None)
    if not given.is_absolute() or not given.resolve().is_relative_to(root.resolve()):
        return path
    inside = given.resolve().relative_to(root.resolve()).as_posix()
    return path if inside == "." else inside  # "." would be the current folder of the other machine
