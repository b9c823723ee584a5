"""The run folder: what `train` writes and everything after it reads."""

from edgemate.runs.environment import environment_facts
from edgemate.runs.folder import Golden, Run, RunFacts, Split, SplitLogits, TrainingProgress
from edgemate.runs.tensors import read_tensors, write_tensors

__all__ = [
    "Golden",
    "Run",
    "RunFacts",
    "Split",
    "SplitLogits",
    "TrainingProgress",
    "environment_facts",
    "read_tensors",
    "write_tensors",
]
