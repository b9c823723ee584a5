"""The run folder, which `train` writes and every later command reads."""

from edgemate.runs.environment import environment_metadata
from edgemate.runs.folder import Run
from edgemate.runs.records import Golden, RunMetadata, Split, SplitLogits, TrainingProgress
from edgemate.runs.tensors import read_tensors, write_tensors

__all__ = [
    "Golden",
    "Run",
    "RunMetadata",
    "Split",
    "SplitLogits",
    "TrainingProgress",
    "environment_metadata",
    "read_tensors",
    "write_tensors",
]
