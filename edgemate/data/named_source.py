"""The data set of a name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgemate.data.source import DataSource
from edgemate.errors import DataError
from edgemate.registry import DATA_SETS


def load_source(name: str, options: Mapping[str, Any] | None = None) -> DataSource:
    """The data set of that name. Raises UsageError where the name is unknown and DataError where it cannot be had."""
    source = DATA_SETS.get(name)(**(options or {}))
    if not isinstance(source, DataSource):
        raise DataError(f"data set {name} gives a {type(source).__name__}; an edgemate.data.DataSource is needed")
    return source
