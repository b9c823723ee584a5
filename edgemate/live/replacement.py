"""A new bundle in the place of the one that runs: noticed, loaded and proved while the old one keeps answering."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from edgemate.errors import EdgemateError
from edgemate.limits import BUNDLE_FILES
from edgemate.live.ready import Ready

POLL_SECONDS = 1.0

Fingerprint = tuple[tuple[str, int, int, int], ...]


class Replacement:
    """Watches a bundle's folder in a thread.

    What is there is loaded once it has changed and has stayed the same for one more look, so a copy that is under way
    is waited for. A bundle that cannot be used is reported once, and looked at again when its files change.

    Args:
        path: the folder.
        seen: the fingerprint of what runs already.
        load: loads and proves what is in the folder.
    """

    def __init__(self, path: Path, seen: Fingerprint, load: Callable[[], Ready]) -> None:
        self._path = path
        self._seen = seen
        self._load = load
        self._lock = threading.Lock()
        self._found: Ready | None = None
        self._problems: list[str] = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="new bundle", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def take(self) -> tuple[Ready | None, list[str]]:
        """A new bundle that is ready, if there is one, to be closed by the caller; and why others were not taken."""
        with self._lock:
            found, self._found = self._found, None
            problems, self._problems = self._problems, []
        return found, problems

    def close(self) -> None:
        """Stop watching, after a load that is under way; close what nobody took."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join()
        found, _ = self.take()
        if found is not None:
            found.close()

    def _watch(self) -> None:
        before = self._seen
        while not self._closing.wait(POLL_SECONDS):
            now = fingerprint(self._path)
            if now and now == before and now != self._seen:
                self._seen = now
                self._try()
            before = now

    def _try(self) -> None:
        try:
            ready = self._load()
        except EdgemateError as error:
            with self._lock:
                self._problems.append("; ".join(line.strip() for line in error.lines))
            return
        except Exception as error:  # a library's own; what runs goes on
            with self._lock:
                self._problems.append(f"{self._path}: {type(error).__name__}: {error}")
            return
        with self._lock:
            before, self._found = self._found, ready
        if before is not None:
            before.close()


def fingerprint(path: Path) -> Fingerprint:
    """What differs once a file of a bundle was replaced, without opening one: name, inode, time and size of each.

    Hidden files and folders, which are being written, do not count. Empty where the folder is missing, or is being
    exchanged.
    """
    found: list[tuple[str, int, int, int]] = []
    waiting = [path]
    try:
        while waiting:
            here = waiting.pop()
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                        continue
                    about = entry.stat(follow_symlinks=False)
                    name = os.path.relpath(entry.path, path)
                    found.append((name, about.st_ino, about.st_mtime_ns, about.st_size))
                    if len(found) > BUNDLE_FILES.most:
                        return ()
    except OSError:
        return ()
    return tuple(sorted(found))
