"""Datasets by their names, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgemate.data.source import DataSource
from edgemate.errors import DataError
from edgemate.registry import DATASETS
from edgemate.wording import counted


def load_source(name: str, options: Mapping[str, Any] | None = None) -> DataSource:
    """The dataset of that name. Raises UsageError where the name is unknown and DataError where it is unavailable."""
    source = DATASETS.get(name)(**(options or {}))
    if not isinstance(source, DataSource):
        raise DataError(f"dataset {name} gives a {type(source).__name__}; an edgemate.data.DataSource is needed")
    return source


def require_same_task(source: DataSource, target: DataSource) -> None:
    """Both domains must have the same classes and channels. Raises DataError where they have not."""
    if target.classes != source.classes:
        only = sorted(set(source.classes) ^ set(target.classes))
        differing = f"{only[0]!r} is in one of them only" if only else "their order differs"
        raise DataError(
            f"data.unlabeled.name: {target.name} has not the classes of {source.name} ({differing}); "
            "both domains must have the same ones"
        )
    if target.channels != source.channels:
        raise DataError(
            f"data.unlabeled.name: {target.name} has {counted(target.channels, 'channel')} and {source.name} "
            f"{source.channels}; "
            "both domains must have as many (image_folder has the option channels)"
        )
