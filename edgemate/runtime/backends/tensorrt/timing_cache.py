"""Kernel timings kept between builds, so that the next build of a similar graph takes seconds.

TensorRT parses them, so only those that this machine wrote are given to it; others count as empty.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from edgemate.runtime.backends.tensorrt.vouched_file import VouchedFile


def default_folder() -> Path:
    """Where the caches are unless the user says otherwise."""
    return cache_folder() / "timing"


def cache_folder() -> Path:
    """The user's folder of what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "edgemate"


class TimingCache:
    """The cache of one device and TensorRT version, shared by all builds there.

    Args:
        folder: where the caches are.
        tag: device and version. Timings of another would be refused by TensorRT, so each has a file of its own.
    """

    def __init__(self, folder: Path, tag: str) -> None:
        self.path = folder / f"{tag}.timing"
        self._file = VouchedFile(self.path)

    def load(self, config: Any) -> None:
        """Give `config` what is known. A file that TensorRT does not take counts as empty.

        Raises:
            OSError: the folder cannot be used.
        """
        with self._file.locked():
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
        with self._file.locked():
            others = self._read(config)
            if others is not None:
                cache.combine(others, ignore_mismatch=False)
            self._file.write(bytes(cache.serialize()))

    def _read(self, config: Any) -> Any | None:
        content = self._file.read()
        if content is None:
            return None
        try:
            return config.create_timing_cache(content)
        except (RuntimeError, TypeError, ValueError):  # what the bindings make of bytes that are no cache
            return None
