"""Data: named data sets, splits, transforms and loaders.

The names below are found on first use, so that a data set can be named and its options checked without loading torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgemate.data.build import Data, build_data
    from edgemate.data.input_facts import InputFacts, Resize
    from edgemate.data.loading import load_source
    from edgemate.data.named import named_test_split, portable_options
    from edgemate.data.presence import check_data
    from edgemate.data.source import ArrayPictures, DataSource, FilePictures, Pictures
    from edgemate.data.splits import Splits, split, splits_of, stratified_sample, tested_indices
    from edgemate.data.transforms import EvaluationTransform, TrainingTransform
    from edgemate.data.unlabelled import Target, TargetPlan

__all__ = [
    "ArrayPictures",
    "Data",
    "DataSource",
    "EvaluationTransform",
    "FilePictures",
    "InputFacts",
    "Pictures",
    "Resize",
    "Splits",
    "Target",
    "TargetPlan",
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
    "build": ("Data", "build_data"),
    "input_facts": ("InputFacts", "Resize"),
    "loading": ("load_source",),
    "named": ("named_test_split", "portable_options"),
    "presence": ("check_data",),
    "source": ("ArrayPictures", "DataSource", "FilePictures", "Pictures"),
    "splits": ("Splits", "split", "splits_of", "stratified_sample", "tested_indices"),
    "transforms": ("EvaluationTransform", "TrainingTransform"),
    "unlabelled": ("Target", "TargetPlan"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
