"""What every kind of reference to a teacher can tell before and after its weights are read."""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from edgemate.data import InputFacts
from edgemate.distillation.teacher import Teacher, TeacherNetwork
from edgemate.errors import RunError

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]


class NamedTeacher(ABC):
    """A teacher that is there, but not yet in memory.

    Attributes:
        normalisation: mean and standard deviation per channel, of pixels in [0, 1], that it was taught with.
        route: epoch → weights that its run has kept of it.
    """

    normalisation: Normalisation
    route: Mapping[int, Path]

    @abstractmethod
    def sketch(self) -> Teacher:
        """The teacher with any weights, for checks; on the device that is torch's default."""

    @abstractmethod
    def check(self, facts: InputFacts, classes: tuple[str, ...]) -> None:
        """Raises UsageError where a student of such pictures and classes cannot learn from it."""

    @abstractmethod
    def network(self, classes: tuple[str, ...]) -> TeacherNetwork:
        """The network with its weights. Raises UsageError or RunError where they cannot be had."""


def size_of(facts: InputFacts) -> str:
    """Of the pictures, as messages write it."""
    return f"{facts.channels} × {facts.height} × {facts.width}"


def load_values(path: Path) -> dict[str, Any]:
    """What `torch.save` wrote, if it is a mapping of tensors and plain values. Raises RunError where it is not."""
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).split("\n")[0]
        raise RunError(f"{path}: cannot be read as tensors and plain values: {reason}") from error
    if not isinstance(loaded, dict):
        raise RunError(f"{path}: should be a mapping, not {type(loaded).__name__}")
    return loaded
