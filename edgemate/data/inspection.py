"""Inspection of a dataset: every image decoded, counted and compared."""

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
from edgemate.core.image_files import read_header
from edgemate.core.input_spec import Resize
from edgemate.core.resizing import require_small
from edgemate.data.damaged import Used
from edgemate.data.input_plan import plan_input
from edgemate.data.loading import load_source, require_same_task
from edgemate.data.notes import data_notes
from edgemate.data.source import DataSource, FileImages, Images
from edgemate.data.splits import splits_of, tested_indices
from edgemate.errors import DataError, ImageError
from edgemate.machine import usable_cores
from edgemate.progress import SILENT, Progress

FEW = 10
"""Classes with fewer images than this in a split are reported."""
_CHUNK = 64


@dataclass(frozen=True)
class InspectedImage:
    """One image.

    Attributes:
        name: its path, or its split and its index in the dataset.
        split: name of the split that uses it.
        label: class index.
        problem: why it cannot be decoded, or is too long and thin to be resized as the recipe says; None if neither.
            The other fields are unset otherwise.
        size: (width, height) in pixels, after the EXIF orientation.
        kind: file format and mode as stored, or "array" and mode.
        alpha: it has transparency, which decoding drops.
        digest: 128-bit hash of the decoded pixels.
    """

    name: str
    split: str
    label: int
    problem: str | None = None
    size: tuple[int, int] = (0, 0)
    kind: str = ""
    alpha: bool = False
    digest: bytes = b""


@dataclass(frozen=True)
class DataReport:
    """The result of `inspect_data`.

    Attributes:
        dataset: name of the dataset.
        classes: class names.
        counts: split → images per class, int64 (classes,).
        images: every image of every split.
        left_out: damaged files that the recipe excludes from all splits.
        ignored: files and folders that are no images, or hidden.
        notes: what `edgemate train` says about the dataset.
    """

    dataset: str
    classes: tuple[str, ...]
    counts: dict[str, npt.NDArray[np.int64]]
    images: tuple[InspectedImage, ...]
    left_out: tuple[str, ...]
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def damaged(self) -> list[InspectedImage]:
        """Images that cannot be decoded."""
        return [image for image in self.images if image.problem is not None]

    @property
    def duplicates(self) -> list[list[InspectedImage]]:
        """Groups of images with identical pixels that occur in more than one split."""
        return [group for group in self._identical() if len({image.split for image in group}) > 1]

    @property
    def conflicts(self) -> list[list[InspectedImage]]:
        """Groups of images with identical pixels that have more than one label, in one split or in several."""
        return [group for group in self._identical() if len({image.label for image in group}) > 1]

    def _identical(self) -> list[list[InspectedImage]]:
        same: dict[bytes, list[InspectedImage]] = defaultdict(list)
        for image in self.images:
            if image.problem is None:
                same[image.digest].append(image)
        return [group for group in same.values() if len(group) > 1]

    @property
    def balance(self) -> dict[str, tuple[int, int]]:
        """Split → indices of its smallest and of its largest class; the first ones where several are."""
        return {name: (int(counts.argmin()), int(counts.argmax())) for name, counts in self.counts.items()}

    @property
    def few(self) -> list[tuple[str, str, int]]:
        """(class, split, images) for every class with fewer than `FEW` images in a split."""
        return [
            (self.classes[k], name, int(count))
            for name, counts in self.counts.items()
            for k, count in enumerate(counts)
            if count < FEW
        ]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values. Sizes are [min, median, max] in pixels, or null if no image can be decoded."""
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
            "balance": {
                name: {"smallest": self.classes[least], "largest": self.classes[most]}
                for name, (least, most) in self.balance.items()
            },
            "width": _spread([image.size[0] for image in whole]),
            "height": _spread([image.size[1] for image in whole]),
            "kinds": dict(Counter(image.kind for image in whole).most_common()),
            "with_transparency": sum(image.alpha for image in whole),
            "damaged": [{"split": one.split, "image": one.name, "problem": one.problem} for one in self.damaged],
            "left_out": list(self.left_out),
            "ignored": list(self.ignored),
            "notes": list(self.notes),
            "duplicates": [[{"split": one.split, "image": one.name} for one in group] for group in self.duplicates],
            "conflicts": [
                [{"split": one.split, "image": one.name, "class": self.classes[one.label]} for one in group]
                for group in self.conflicts
            ],
            "few": [{"class": name, "split": where, "images": count} for name, where, count in self.few],
        }


def inspect_data(section: Data, progress: Progress = SILENT) -> DataReport:
    """Decode every image of a recipe's splits, and of a second dataset under data.unlabeled.

    Args:
        section: the recipe's data section.
        progress: receives the number of images decoded.

    Raises:
        DataError: a dataset is missing. Damaged images are no error: they are in the report.
        UsageError: a name is unknown, or an option is out of range.
    """
    source = load_source(section.name, section.options, skip_damaged=section.skip_damaged, progress=progress)
    splits = splits_of(section, source)
    used: dict[str, Used] = {
        "train": (source.train, splits.train),
        "calibration": (source.train, splits.calibration),
        "test": (source.test, splits.test),
    }
    sources = [source]
    other = section.unlabeled
    if other is not None and not section.splits_own_dataset:
        domain = load_source(str(other.name), other.options, skip_damaged=section.skip_damaged, progress=progress)
        require_same_task(source, domain)
        sources.append(domain)
        used["unlabeled"] = domain.train, np.arange(len(domain.train), dtype=np.int64)
        used["target_test"] = domain.test, tested_indices(domain.test.labels, section.test_limit)
    return DataReport(
        source.name,
        source.classes,
        {name: _per_class(one, len(source.classes)) for name, one in used.items()},
        tuple(_inspect_all(used, _resize_of(section, source), progress)),
        tuple(str(path) for one in sources for path in one.left_out),
        tuple(str(path) for one in sources for path in one.ignored),
        data_notes(sources, splits),
    )


def _per_class(used: Used, classes: int) -> npt.NDArray[np.int64]:
    images, indices = used
    return np.bincount(images.labels[indices], minlength=classes).astype(np.int64)


def _resize_of(section: Data, source: DataSource) -> Resize | None:
    """The resize that the recipe asks for; None where it has none, or leaves the size to the network."""
    try:
        return plan_input(source, section).resize
    except DataError:
        return None


def _inspect_all(used: dict[str, Used], rule: Resize | None, progress: Progress) -> Iterator[InspectedImage]:
    places = [(name, images, int(i)) for name, (images, indices) in used.items() for i in indices]
    progress.step("decoding, image")
    cores = usable_cores()
    window = _CHUNK * cores
    with ThreadPoolExecutor(cores) as pool:  # Pillow's decoders let other threads run
        for first in range(0, len(places), window):  # a window at a time, so that Ctrl-C does not wait for the rest
            last = min(first + window, len(places))
            chunks = [places[start : min(start + _CHUNK, last)] for start in range(first, last, _CHUNK)]
            for found in pool.map(lambda chunk: [_inspect(*place, rule=rule) for place in chunk], chunks):
                yield from found
            progress.advance(last, len(places))


def _inspect(split_name: str, images: Images, index: int, *, rule: Resize | None) -> InspectedImage:
    path = images.paths[index] if isinstance(images, FileImages) else None
    name = f"{split_name} {index}" if path is None else str(path)
    label = int(images.labels[index])
    try:
        header = None if path is None else read_header(path)
        image = images.image(index)
        if rule is not None:
            require_small(image.size, rule, name)
    except ImageError as error:
        return InspectedImage(name, split_name, label, str(error))
    digest = hashlib.blake2b(repr((image.mode, image.size)).encode() + image.tobytes(), digest_size=16).digest()
    kind = f"array {image.mode}" if header is None else f"{header.format} {header.mode}"
    return InspectedImage(name, split_name, label, None, image.size, kind, header is not None and header.alpha, digest)


def _spread(values: Sequence[int]) -> list[float] | None:
    return [float(min(values)), float(np.median(values)), float(max(values))] if values else None
