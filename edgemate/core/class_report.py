"""How every exit does on labeled images: top-1, top-5, accuracy by class and confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.core.scoring import Float64, Labels, Logits, confusion_matrices, top_k_accuracy

TOP = 5
"""Top-5 accuracy exists only where there are more classes than these."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ClassReport:
    """Counts of answers by exit, class and label. Reports of several batches add up to the report of all of them.

    Attributes:
        classes: C names, in the order of the logits.
        confusion: int64 (K, C, C): images of class i (row) that exit k takes for class j (column).
        top5_hits: int64 (K,): images whose class is among the 5 highest logits; None for 5 classes or fewer.
    """

    classes: tuple[str, ...]
    confusion: Counts
    top5_hits: Counts | None

    @classmethod
    def of(cls, logits: Logits, labels: Labels, classes: Sequence[str]) -> ClassReport:
        """The report of logits (N, K, C) and labels (N,). Raises ValueError if their shapes differ."""
        confusion = confusion_matrices(logits, labels)
        hits = None
        if len(classes) > TOP:
            hits = np.rint(top_k_accuracy(logits, labels, TOP) * len(labels)).astype(np.int64)
        return cls(tuple(classes), confusion, hits)

    def __add__(self, other: ClassReport) -> ClassReport:
        hits = None if self.top5_hits is None or other.top5_hits is None else self.top5_hits + other.top5_hits
        return ClassReport(self.classes, self.confusion + other.confusion, hits)

    @property
    def exits(self) -> int:
        """K."""
        return len(self.confusion)

    @property
    def class_images(self) -> Counts:
        """Images of each class: (C,)."""
        counts: Counts = self.confusion[0].sum(1)
        return counts

    @property
    def images(self) -> int:
        """N."""
        return int(self.class_images.sum())

    @property
    def top1(self) -> Float64:
        """Top-1 accuracy per exit, in [0, 1]: (K,)."""
        accuracy: Float64 = self.confusion.trace(axis1=1, axis2=2) / self.images
        return accuracy

    @property
    def top5(self) -> Float64 | None:
        """Top-5 accuracy per exit, in [0, 1]: (K,); None for 5 classes or fewer."""
        return None if self.top5_hits is None else self.top5_hits / self.images

    @property
    def class_accuracy(self) -> Float64:
        """Fraction of each class's images that each exit names correctly: (K, C); NaN where a class has no images."""
        right = self.confusion.diagonal(axis1=1, axis2=2).astype(np.float64)
        images = self.class_images
        accuracy: Float64 = np.divide(right, images, out=np.full(right.shape, np.nan), where=images > 0)
        return accuracy

    def worst_first(self, exit: int) -> list[int]:
        """The classes that have images, by their accuracy at `exit` (counted from 1), lowest first."""
        accuracy = self.class_accuracy[exit - 1]
        return [int(i) for i in np.argsort(accuracy, kind="stable") if not np.isnan(accuracy[i])]

    def confusions(self, exit: int) -> list[tuple[int, int, int]]:
        """What `exit` (counted from 1) mistakes for what: (class, named class, images), the most frequent first."""
        wrong = self.confusion[exit - 1].copy()
        np.fill_diagonal(wrong, 0)
        rows, columns = np.nonzero(wrong)
        order = np.argsort(-wrong[rows, columns], kind="stable")
        return [(int(rows[i]), int(columns[i]), int(wrong[rows[i], columns[i]])) for i in order]

    def to_json(self, *, confusion: bool = False) -> dict[str, Any]:
        """The figures of every exit as JSON values; the confusion matrices, C² numbers per exit, only if asked for."""
        top5, by_class = self.top5, self.class_accuracy
        known = self.class_images > 0
        return {
            "images": self.images,
            "class_images": dict(zip(self.classes, self.class_images.tolist(), strict=True)),
            "exits": [
                {
                    "exit": k + 1,
                    "top1": float(self.top1[k]),
                    **({} if top5 is None else {"top5": float(top5[k])}),
                    "class_accuracy": {
                        name: float(by_class[k, i]) if known[i] else None for i, name in enumerate(self.classes)
                    },
                    **({"confusion": self.confusion[k].tolist()} if confusion else {}),
                }
                for k in range(self.exits)
            ],
        }
