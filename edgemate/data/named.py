"""A dataset as a bundle names it: its portable options, and its test split loaded by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from edgemate.config.options import part_options
from edgemate.core.split_options import allowed_options, is_nameable, refused_option
from edgemate.data.loading import load_source
from edgemate.errors import DataError
from edgemate.registry import DATASETS
from edgemate.wording import key_path

if TYPE_CHECKING:
    from edgemate.data.source import Images


def portable_options(name: str, options: Mapping[str, Any], skip_damaged: bool = False) -> dict[str, Any] | None:
    """The options that determine the images of a dataset's test split, to be stored elsewhere.

    Where the images are is left out: that differs between machines, and a shared file must not say what is read.

    Args:
        name: of the dataset.
        options: of the dataset.
        skip_damaged: damaged files are left out; stored beside the options if so.

    Returns:
        The options; None for a dataset that only a recipe may name: a user's own part, or a user's own files.
    """
    if not is_nameable(name):
        return None
    given = {**options, "skip_damaged": True} if skip_damaged else options
    return {key: value for key, value in given.items() if key in allowed_options(name)}


def named_test_split(name: str, options: Mapping[str, Any] | None, classes: Sequence[str]) -> Images:
    """The test split of a dataset that an untrusted file names.

    Only registered datasets are loaded, from the user's data root, where they are already: nothing is downloaded, and
    no folder made.

    Args:
        name: of the dataset.
        options: as `portable_options` returned them; None if unknown.
        classes: the expected class names.

    Raises:
        DataError: the name is not registered or of files of a user's own, the options are unknown, invalid or say where
            the images are, the dataset is unavailable, or it has other classes.
    """
    if name not in DATASETS:
        raise DataError(
            f"{name!r} is not a registered dataset; only registered datasets are loaded by name from a file"
        )
    if not is_nameable(name):
        raise DataError(f"{name}: its images are files of a user's own, which no other file may name")
    if options is None:
        raise DataError(f"{name}: the options of its split are not stored; export the run again to store them")
    refused = refused_option(name, options)
    if refused is not None:
        raise DataError(f"{name}: option {refused}: a bundle may not name it")
    given = dict(options)
    skip_damaged = given.pop("skip_damaged", False) is True
    model = part_options(DATASETS, name)
    if "download" in model.model_fields:
        given["download"] = False
    try:
        model.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DataError(f"{name}: option {key_path(first['loc'])}: {first['msg']}") from error
    check = DATASETS.companion(name, "check_")
    if check is not None:
        check(**given)
    source = load_source(name, given, skip_damaged=skip_damaged)
    if tuple(source.classes) != tuple(classes):
        raise DataError(
            f"{source.name}: its classes are {', '.join(source.classes[:5])} … instead of {', '.join(classes[:5])} …"
        )
    return source.test
