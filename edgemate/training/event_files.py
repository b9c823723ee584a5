"""Errors of TensorBoard's event files, which a thread of its own writes."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def translate_event_errors(folder: Path) -> Iterator[None]:
    """Keep the thread's traceback off the screen, since its error is raised here too; a full disk's names `folder`.

    Args:
        folder: of the event files.

    Raises:
        OSError: what the block raises.
    """
    before = threading.excepthook

    def hook(given: threading.ExceptHookArgs) -> None:
        of_tensorboard = type(given.thread).__module__.startswith("tensorboard.")
        if not of_tensorboard or not isinstance(given.exc_value, OSError):
            before(given)

    threading.excepthook = hook
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in _FULL:
            error.filename = str(folder)
        raise
    finally:
        threading.excepthook = before
