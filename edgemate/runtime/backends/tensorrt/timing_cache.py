"""Kernel timings kept between builds, so that the next build of a similar graph takes seconds.

TensorRT parses them, so only those that this machine wrote are given to it; others count as empty.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgemate import files
from edgemate.errors import BundleError
from edgemate.trust import GuardedFolder, Ledger

try:
    import fcntl
except ImportError:  # Windows: two builds at once may lose timings, never write half a file
    fcntl = None  # type: ignore[assignment]


def default_folder() -> Path:
    """Where the caches are unless the user says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "edgemate" / "timing"


class TimingCache:
    """The cache of one device and TensorRT version, shared by all builds there.

    Args:
        folder: where the caches are.
        tag: device and version. Timings of another would be refused by TensorRT, so each has a file of its own.
    """

    def __init__(self, folder: Path, tag: str) -> None:
        self.path = folder / f"{tag}.timing"
        self._ledger = Ledger.of_this_user()

    def load(self, config: Any) -> None:
        """Give `config` what is known. A file that TensorRT does not take counts as empty.

        Raises:
            OSError: the folder cannot be used.
        """
        with self._locked():
            known = self._read(config)
        if known is None or not config.set_timing_cache(known, ignore_mismatch=False):
            config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)

    def save(self, config: Any) -> None:
        """Keep what `config` knows now, together with what other builds have written meanwhile.

        Raises:
            OSError: the file cannot be written.
            BackendError: the list of what this machine built cannot be written.
        """
        cache = config.get_timing_cache()
        if cache is None:
            return
        with self._locked():
            others = self._read(config)
            if others is not None:
                cache.combine(others, ignore_mismatch=False)
            content, before = bytes(cache.serialize()), self._content()
            self._ledger.record(_hash(content))
            files.write_bytes(self.path, content)
            if before is not None and before != content:
                self._ledger.forget(_hash(before))

    def _read(self, config: Any) -> Any | None:
        content = self._content()
        if content is None or not self._ledger.knows(_hash(content)):
            return None
        try:
            return config.create_timing_cache(content)
        except (RuntimeError, TypeError, ValueError):  # what the bindings make of bytes that are no cache
            return None

    def _content(self) -> bytes | None:
        try:
            return GuardedFolder(self.path.parent).read(self.path.name)
        except (FileNotFoundError, BundleError):
            return None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("wb") as handle:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX)  # let go when the file is closed
            yield


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
