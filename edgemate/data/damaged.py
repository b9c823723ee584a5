"""Search for damaged image files before training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgemate.core.image_files import check_file
from edgemate.data.source import FileImages, Images
from edgemate.errors import DataError, ImageError
from edgemate.progress import SILENT, Progress

Used = tuple[Images, npt.NDArray[np.int64]]
"""Images, and the indices of those in use, int64 (N,)."""

_NAMED = 10
# Threads do not help if the files are cached in memory, but do on a slow disk or network.
_THREADS, _CHUNK = 8, 256


def require_whole(splits: Mapping[str, Used], progress: Progress = SILENT) -> None:
    """Check every image file in use by `edgemate.core.image_files.check_file`.

    100,000 files take 4 to 6 s on 2 cores if they are in the system's cache.

    Args:
        splits: images in use, by the name of the split. Images in memory are skipped.
        progress: receives the number of files checked.

    Raises:
        DataError: files are damaged. The message names the first ten, and counts them by split.
    """
    paths: list[Path] = []
    ends: dict[str, int] = {}
    for split, (images, indices) in splits.items():
        if isinstance(images, FileImages):
            paths += [images.paths[i] for i in indices]
        ends[split] = len(paths)
    damaged = find_damaged(paths, progress)
    if not damaged:
        return
    places = np.array(sorted(damaged))
    fractions, start = [], 0
    for split, end in ends.items():
        if found := int(((start <= places) & (places < end)).sum()):
            fractions.append(f"{split} {found} of {end - start:,}")
        start = end
    problems = list(dict.fromkeys(damaged[place] for place in sorted(damaged)))
    lines = "".join(f"\n  {problem}" for problem in problems[:_NAMED])
    more = f"\n  and {len(problems) - _NAMED:,} more" if len(problems) > _NAMED else ""
    raise DataError(
        f"damaged image files: {', '.join(fractions)}; replace or remove them, or leave them out with "
        f"data.options.skip_damaged=true{lines}{more}"
    )


def find_damaged(paths: Sequence[Path], progress: Progress = SILENT) -> dict[int, str]:
    """The files that `edgemate.core.image_files.check_file` finds damaged: index in `paths` → problem."""
    found: dict[int, str] = {}

    def look(start: int) -> dict[int, str]:
        problems = {}
        for place in range(start, min(start + _CHUNK, len(paths))):
            try:
                check_file(paths[place])
            except ImageError as error:
                problems[place] = str(error)
        return problems

    window = _CHUNK * _THREADS
    if paths:
        progress.step("checking image files, file")
    with ThreadPoolExecutor(_THREADS) as pool:
        # A window at a time, so that Ctrl-C does not wait for the rest.
        for first in range(0, len(paths), window):
            for problems in pool.map(look, range(first, min(first + window, len(paths)), _CHUNK)):
                found |= problems
            progress.advance(min(first + window, len(paths)), len(paths))
    return found
