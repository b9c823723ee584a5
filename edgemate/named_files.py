"""Opening a file that the user names, without waiting for a named pipe that nobody may ever write to."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_named(path: Path) -> BinaryIO:
    """The file, opened for reading. What a shell has opened, as `<(command)`, is waited for.

    Raises:
        OSError: it cannot be opened, or is a named pipe.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if stat.S_ISFIFO(mode):
            if stat.S_ISFIFO(path.lstat().st_mode):  # that of a shell is a link, in /dev/fd or /proc
                raise OSError(errno.ESPIPE, "it is a named pipe; name a file", str(path))
            os.set_blocking(descriptor, True)
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")
