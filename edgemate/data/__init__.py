"""Data: named datasets, splits, transforms and loaders.

The names below are imported on first use, so that a dataset's options can be checked without importing torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgemate.data.build import PreparedData, build_data
    from edgemate.data.loading import load_source
    from edgemate.data.named import named_test_split, portable_options
    from edgemate.data.presence import check_data
    from edgemate.data.source import ArrayImages, DataSource, FileImages, Images
    from edgemate.data.splits import Splits, split, splits_of, stratified_sample, tested_indices
    from edgemate.data.transforms import EvaluationTransform, TrainingTransform
    from edgemate.data.unlabeled import Target

__all__ = [
    "ArrayImages",
    "DataSource",
    "EvaluationTransform",
    "FileImages",
    "Images",
    "PreparedData",
    "Splits",
    "Target",
    "TrainingTransform",
    "build_data",
    "check_data",
    "load_source",
    "named_test_split",
    "portable_options",
    "split",
    "splits_of",
    "stratified_sample",
    "tested_indices",
]

_HOMES = {
    "build": ("PreparedData", "build_data"),
    "input_spec": ("InputSpec", "Resize"),
    "loading": ("load_source",),
    "named": ("named_test_split", "portable_options"),
    "presence": ("check_data",),
    "source": ("ArrayImages", "DataSource", "FileImages", "Images"),
    "splits": ("Splits", "split", "splits_of", "stratified_sample", "tested_indices"),
    "transforms": ("EvaluationTransform", "TrainingTransform"),
    "unlabeled": ("Target",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
