"""What a dataset holds, found by decoding all of it."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.config import Data
from edgemate.data.damaged import Used
from edgemate.data.loading import load_source, require_same_task
from edgemate.data.source import FileImages, Images
from edgemate.data.splits import splits_of, splits_own_dataset, tested_indices
from edgemate.errors import ImageError
from edgemate.images import read_header
from edgemate.machine import usable_cores
from edgemate.progress import SILENT, Progress

FEW = 10
"""Classes with fewer images than this in a split are named."""
_CHUNK = 64


@dataclass(frozen=True)
class Found:
    """One image.

    Attributes:
        name: its path, or its split and its index in the dataset.
        split: where it is used.
        problem: what is wrong with it; the rest is unknown then.
        size: (width, height) in pixels, upright.
        kind: file format and mode as stored, or "array" and mode.
        alpha: it has transparency, which decoding drops.
        digest: of the decoded pixels.
    """

    name: str
    split: str
    problem: str | None = None
    size: tuple[int, int] = (0, 0)
    kind: str = ""
    alpha: bool = False
    digest: bytes = b""


@dataclass(frozen=True)
class DataReport:
    """What `check_data` found.

    Attributes:
        dataset: its name.
        classes: class names.
        counts: images per class (K,), by split.
        images: every image.
        left_out: damaged files that are in no split, because the recipe says so.
    """

    dataset: str
    classes: tuple[str, ...]
    counts: dict[str, npt.NDArray[np.int64]]
    images: tuple[Found, ...]
    left_out: tuple[str, ...]

    @property
    def damaged(self) -> list[Found]:
        """The images that cannot be decoded."""
        return [image for image in self.images if image.problem is not None]

    @property
    def duplicates(self) -> list[list[Found]]:
        """Images of the same pixels that are in more than one split, together."""
        same: dict[bytes, list[Found]] = defaultdict(list)
        for image in self.images:
            if image.problem is None:
                same[image.digest].append(image)
        return [group for group in same.values() if len({image.split for image in group}) > 1]

    @property
    def few(self) -> list[tuple[str, str, int]]:
        """Class, split and number of images where these are fewer than `FEW`."""
        return [
            (self.classes[k], name, int(count))
            for name, counts in self.counts.items()
            for k, count in enumerate(counts)
            if count < FEW
        ]

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values. Sizes are [min, median, max] in pixels, or null where nothing can be decoded."""
        whole = [image for image in self.images if image.problem is None]
        return {
            "dataset": self.dataset,
            "classes": list(self.classes),
            "splits": {
                name: {
                    "images": int(counts.sum()),
                    "per_class": dict(zip(self.classes, counts.tolist(), strict=True)),
                }
                for name, counts in self.counts.items()
            },
            "width": _spread([image.size[0] for image in whole]),
            "height": _spread([image.size[1] for image in whole]),
            "kinds": dict(Counter(image.kind for image in whole).most_common()),
            "with_transparency": sum(image.alpha for image in whole),
            "damaged": [{"split": one.split, "image": one.name, "problem": one.problem} for one in self.damaged],
            "left_out": list(self.left_out),
            "duplicates": [[{"split": one.split, "image": one.name} for one in group] for group in self.duplicates],
            "few": [{"class": name, "split": where, "images": count} for name, where, count in self.few],
        }


def check_data(section: Data, progress: Progress = SILENT) -> DataReport:
    """Decode every image that a recipe's splits hold, those of a second dataset under data.unlabeled too.

    Args:
        section: the recipe's data section.
        progress: told how far it has come.

    Raises:
        DataError: a dataset is missing; damaged images are in the report.
        UsageError: a name is unknown, or an option is out of range.
    """
    source = load_source(section.name, section.options)
    splits = splits_of(section, source)
    used: dict[str, Used] = {
        "train": (source.train, splits.train),
        "calibration": (source.train, splits.calibration),
        "test": (source.test, splits.test),
    }
    sources = [source]
    other = section.unlabeled
    if other is not None and not splits_own_dataset(section):
        domain = load_source(str(other.name), other.options)
        require_same_task(source, domain)
        sources.append(domain)
        used["unlabeled"] = domain.train, np.arange(len(domain.train), dtype=np.int64)
        used["target_test"] = domain.test, tested_indices(domain.test.labels, section.test_limit)
    return DataReport(
        source.name,
        source.classes,
        {name: _per_class(one, len(source.classes)) for name, one in used.items()},
        tuple(_look_at_all(used, progress)),
        tuple(str(path) for one in sources for path in one.left_out),
    )


def _per_class(used: Used, classes: int) -> npt.NDArray[np.int64]:
    images, indices = used
    return np.bincount(images.labels[indices], minlength=classes).astype(np.int64)


def _look_at_all(used: dict[str, Used], progress: Progress) -> Iterator[Found]:
    places = [(name, images, int(i)) for name, (images, indices) in used.items() for i in indices]
    progress.step("decoding, image")
    cores = usable_cores()
    window = _CHUNK * cores
    with ThreadPoolExecutor(cores) as pool:  # Pillow's decoders let other threads run
        for first in range(0, len(places), window):  # a window at a time, so that Ctrl-C does not wait for the rest
            last = min(first + window, len(places))
            chunks = [places[start : min(start + _CHUNK, last)] for start in range(first, last, _CHUNK)]
            for found in pool.map(_look_at_some, chunks):
                yield from found
            progress.advance(last, len(places))


def _look_at_some(places: Sequence[tuple[str, Images, int]]) -> list[Found]:
    return [_look_at(*place) for place in places]


def _look_at(split_name: str, images: Images, index: int) -> Found:
    path = images.paths[index] if isinstance(images, FileImages) else None
    name = f"{split_name} {index}" if path is None else str(path)
    try:
        header = None if path is None else read_header(path)
        image = images.image(index)
    except ImageError as error:
        return Found(name, split_name, str(error))
    digest = hashlib.blake2b(repr((image.mode, image.size)).encode() + image.tobytes(), digest_size=16).digest()
    kind = f"array {image.mode}" if header is None else f"{header.format} {header.mode}"
    return Found(name, split_name, None, image.size, kind, header is not None and header.alpha, digest)


def _spread(values: Sequence[int]) -> list[float] | None:
    return [float(min(values)), float(np.median(values)), float(max(values))] if values else None
