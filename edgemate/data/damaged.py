"""Damaged image files, found before anything is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgemate.data.source import FileImages, Images
from edgemate.errors import DataError, ImageError
from edgemate.images import check_file
from edgemate.progress import SILENT, Progress

Used = tuple[Images, npt.NDArray[np.int64]]
"""Images, and the indices of those that are used."""

_NAMED = 10
# Threads do not help where the files lie in memory, and do where a disk or a network answers late.
_THREADS, _CHUNK = 8, 256


def require_whole(splits: Mapping[str, Used], progress: Progress = SILENT) -> None:
    """Look at every image file that is used, as `edgemate.images.check_file` does.

    100,000 take 4 to 6 s on 2 cores where the files are in the system's cache.

    Args:
        splits: what is used, by the name of the split. Images that do not lie in files are passed over.
        progress: told how far it has come.

    Raises:
        DataError: there are damaged files; the first ten are named, and how many there are in each split.
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
    """Which of the files are damaged, as far as `edgemate.images.check_file` sees it: what is wrong, by place."""
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
        progress.step("looking at image files, file")
    with ThreadPoolExecutor(_THREADS) as pool:
        # A window at a time, so that Ctrl-C does not wait for all that is left.
        for first in range(0, len(paths), window):
            for problems in pool.map(look, range(first, min(first + window, len(paths)), _CHUNK)):
                found |= problems
            progress.advance(min(first + window, len(paths)), len(paths))
    return found
