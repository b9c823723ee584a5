"""Loading datasets by name, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgemate.data.damaged import without_damaged
from edgemate.data.source import DataSource
from edgemate.errors import DataError
from edgemate.progress import SILENT, Progress
from edgemate.registry import DATASETS
from edgemate.wording import counted


def load_source(
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    skip_damaged: bool = False,
    progress: Progress = SILENT,
) -> DataSource:
    """Load a dataset.

    Args:
        name: registered name or dotted path.
        options: of the dataset.
        skip_damaged: leave out the files that `edgemate.core.image_files.check_file` finds damaged, checked each time.
        progress: receives the number of files checked.

    Raises:
        UsageError: the name is unknown.
        DataError: the dataset is unavailable, or a class has damaged images only.
    """
    source = DATASETS.make(name, object, **(options or {}))
    if not isinstance(source, DataSource):
        raise DataError(f"dataset {name} returns a {type(source).__name__}; it must return an edgemate.data.DataSource")
    return without_damaged(source, progress) if skip_damaged else source


def require_same_task(source: DataSource, target: DataSource) -> None:
    """Require the same classes and channels of both domains. Raises DataError."""
    if target.classes != source.classes:
        only = sorted(set(source.classes) ^ set(target.classes))
        differing = f"only one of them has {only[0]!r}" if only else "their order differs"
        raise DataError(
            f"data.unlabeled.name: the classes of {target.name} are not those of {source.name} ({differing}); "
            "both domains must have the same classes"
        )
    if target.channels != source.channels:
        raise DataError(
            f"data.unlabeled.name: {target.name} has {counted(target.channels, 'channel')} and {source.name} "
            f"{source.channels}; "
            "both domains must have the same number (image_folder has the option channels)"
        )
