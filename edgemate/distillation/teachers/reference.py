"""Checks of `distillation.teacher` that need no torch: which methods need one, and whether it exists."""

from __future__ import annotations

from pathlib import Path

from edgemate.config.signatures import class_constant
from edgemate.errors import UsageError
from edgemate.registry import METHODS, closest
from edgemate.runs import Run

TORCHVISION = "torchvision:"
"""What a reference to a classifier of torchvision begins with; after an @ a file of weights may follow."""


def learns_from_teacher(name: str) -> bool:
    """Whether a method learns from `distillation.teacher`. Raises UsageError where there is none of that name."""
    if name in METHODS:
        try:
            return bool(class_constant(*METHODS.place(name), "needs_teacher"))
        except LookupError:
            pass
    return bool(getattr(METHODS.get(name), "needs_teacher", False))


def check_reference(reference: str) -> None:
    """Look whether the run, the checkpoint or the file that a reference names is there.

    Raises:
        RunError: there is no such run, or it has not finished and no checkpoint of it is named.
        UsageError: it names neither a run nor a checkpoint of one, or a file that is not there.
    """
    if reference.startswith(TORCHVISION):
        weights_file(reference)
    else:
        find_run(reference)


def find_run(reference: str) -> tuple[Run, Path | None]:
    """The run that a reference names, and the checkpoint in it where it names one. Errors are `check_reference`'s."""
    path = Path(reference)
    checkpoint = path if path.is_file() else None
    if checkpoint and checkpoint.parent.name != "checkpoints":
        raise UsageError(
            f"{reference}: not a checkpoint of a run, which would be in RUN/checkpoints; name a run folder, one "
            f"of its checkpoints, or torchvision:NAME@FILE"
        )
    if not checkpoint and path.parent.name == "checkpoints" and not path.exists():
        there = sorted(found.name for found in path.parent.glob("*") if not found.name.startswith("."))
        raise UsageError(f"{reference}: there is no such checkpoint; {closest(path.name, there)}")
    return Run.open(path.parent.parent if checkpoint else path, finished=checkpoint is None), checkpoint


def weights_file(reference: str) -> Path | None:
    """The file behind the @ of a reference to torchvision. Raises UsageError where it is not there."""
    _, at, file = reference.partition("@")
    if at and not Path(file).is_file():
        raise UsageError(f"{reference}: there is no file {file}")
    return Path(file) if at else None
