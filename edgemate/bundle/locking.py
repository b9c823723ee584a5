"""One process at a time writes into a bundle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgemate.durable import remove_leftovers
from edgemate.errors import BundleError
from edgemate.locks import HeldError, lock_folder
from edgemate.swapping import recover


@contextmanager
def writing_bundle(path: Path, *, seconds: float = 0.0) -> Iterator[None]:
    """Keep other processes from writing into a bundle, or replacing it, in this block. Readers are not kept out.

    What killed processes left in the folder is removed. A folder that does not exist is not locked.

    Args:
        path: the bundle's folder.
        seconds: how long to wait for another process.

    Raises:
        BundleError: another process writes there; the message names it.
    """
    recover(path)
    try:
        with lock_folder(path, seconds=seconds):
            remove_leftovers(path, deep=True)
            yield
    except HeldError as error:
        raise BundleError(f"{path}: {error} is writing into this bundle; wait until it has ended") from error
