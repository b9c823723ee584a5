"""Search for damaged image files before training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgemate.core.image_files import check_file
from edgemate.data.source import DataSource, FileImages, Images
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
        DataError: files are damaged. The message names the first ten, and counts them by split;
            `edgemate data check` names all.
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
    more = [f"and {len(problems) - _NAMED:,} more"] if len(problems) > _NAMED else []
    raise DataError(
        f"damaged image files: {', '.join(fractions)}; replace or remove them, or leave them out with "
        f"data.skip_damaged=true; `edgemate data check` names all",
        [*problems[:_NAMED], *more],
    )


def without_damaged(source: DataSource, progress: Progress = SILENT) -> DataSource:
    """A dataset without the files that `find_damaged` names, which become its `left_out`.

    A test split that the dataset makes at random is made before, so that it does not depend on the damage.

    Raises:
        DataError: a class has images in `train` or in `test`, and all of them are damaged.
    """
    train, kept, train_left_out = _whole(source.train, source.classes, progress)
    test, _, test_left_out = _whole(source.test, source.classes, progress)
    calibration = source.calibration
    if calibration is not None:
        chosen = np.isin(kept, calibration, assume_unique=True)
        calibration = np.flatnonzero(chosen).astype(np.int64, copy=False)
    return replace(
        source,
        train=train,
        test=test,
        calibration=calibration,
        left_out=(*source.left_out, *train_left_out, *test_left_out),
    )


def _whole(
    images: Images, classes: Sequence[str], progress: Progress
) -> tuple[Images, npt.NDArray[np.int64], list[Path]]:
    """The images that are not damaged, their indices, and the files of the others."""
    indices = np.arange(len(images), dtype=np.int64)
    if not isinstance(images, FileImages):
        return images, indices, []
    damaged = sorted(find_damaged(images.paths, progress))
    kept: npt.NDArray[np.int64] = np.delete(indices, damaged)
    if lost := set(images.labels[damaged].tolist()) - set(images.labels[kept].tolist()):
        label = min(lost)
        first = images.paths[int(np.flatnonzero(images.labels == label)[0])]
        raise DataError(
            f"class {classes[label]!r} has damaged images only, the first one {first}; add whole images or remove it"
        )
    whole = replace(images, paths=[images.paths[i] for i in kept.tolist()], labels=images.labels[kept])
    return whole, kept, [images.paths[i] for i in damaged]


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
