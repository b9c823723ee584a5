"""The folder of a comparison, which one process at a time writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgemate.durable import make_folder, remove_leftovers
from edgemate.errors import RunError
from edgemate.file_group import finish_groups
from edgemate.locks import HeldError, check_lock_file, lock_file


@contextmanager
def comparing_in(output: Path) -> Iterator[None]:
    """Keep other comparisons out of a folder in this block. What killed ones left there is finished or removed.

    Raises:
        RunError: another process compares there; the message names it.
        OSError: the folder cannot be written to.
    """
    make_folder(output)
    with _named(output), lock_file(output):
        finish_groups(output)
        for folder in (output, output / "recipes"):
            remove_leftovers(folder)
        yield


def check_nobody_compares_in(output: Path) -> None:
    """Raise RunError if another process compares in a folder, which may be absent."""
    with _named(output):
        check_lock_file(output)


@contextmanager
def _named(output: Path) -> Iterator[None]:
    try:
        yield
    except HeldError as error:
        raise RunError(f"{output}: {error} is writing this comparison; wait until it has ended, or end it") from error
