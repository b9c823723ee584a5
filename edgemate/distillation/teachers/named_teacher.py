"""The interface of every kind of teacher that a recipe can name, before its weights are loaded."""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from edgemate.core.input_spec import InputSpec
from edgemate.distillation.teachers.teacher import Teacher, TeacherNetwork
from edgemate.errors import RunError

Normalization = tuple[tuple[float, ...], tuple[float, ...]]


class NamedTeacher(ABC):
    """A teacher that exists, but is not yet loaded.

    Attributes:
        normalization: mean and standard deviation per channel, of pixels in [0, 1], that it was trained with.
        route: epoch → weights that its run has kept.
    """

    normalization: Normalization
    route: Mapping[int, Path]

    @abstractmethod
    def untrained(self) -> Teacher:
        """The teacher with random weights, for checks; on torch's default device."""

    @abstractmethod
    def check(self, metadata: InputSpec, classes: tuple[str, ...]) -> None:
        """Raise UsageError if a student of such images and classes cannot learn from it."""

    @abstractmethod
    def network(self, classes: tuple[str, ...]) -> TeacherNetwork:
        """The network with its weights. Raises UsageError or RunError if they are unavailable."""


def size_of(metadata: InputSpec) -> str:
    """Size of the images for messages: `channels × height × width`."""
    return f"{metadata.channels} × {metadata.height} × {metadata.width}"


def load_values(path: Path) -> dict[str, Any]:
    """Read a mapping of tensors and plain values that `torch.save` wrote. Raises RunError if it is anything else."""
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).split("\n")[0]
        raise RunError(f"{path}: cannot be read as tensors and plain values: {reason}") from error
    if not isinstance(loaded, dict):
        raise RunError(f"{path}: should be a mapping, not {type(loaded).__name__}")
    return loaded
