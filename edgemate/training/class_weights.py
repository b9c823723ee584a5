"""`optimization.class_weights`: how much an image of each class counts in the hard-label terms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgemate.data import PreparedData
from edgemate.errors import RecipeError


def class_weights(asked: str | Sequence[float], data: PreparedData, source: str) -> tuple[float, ...] | None:
    """Per class the weight of its images; None where all are alike.

    Args:
        asked: the recipe's setting.
        data: the dataset; its training split is counted.
        source: what messages call the recipe.

    Raises:
        RecipeError: the list is not of one weight per class.
    """
    if asked == "none":
        return None
    classes = len(data.classes)
    if isinstance(asked, str):
        return balanced_weights(data.source.train.labels[data.splits.train], classes)
    if len(asked) != classes:
        problem = f"optimization.class_weights: has {len(asked)} numbers, and {data.source.name} has {classes} classes"
        raise RecipeError(source, [f"{problem}; give one per class, in their order, or balanced"])
    return tuple(asked)


def balanced_weights(labels: npt.NDArray[np.int64], classes: int) -> tuple[float, ...]:
    """N / (C · n_c), as scikit-learn's `balanced`: over the labels (N,) the weights' mean is 1.

    C counts the classes that occur; one that does not has the weight 1, which nothing uses.
    """
    counts = np.bincount(labels, minlength=classes)
    occurring = np.count_nonzero(counts)
    weights = np.where(counts > 0, len(labels) / (occurring * np.maximum(counts, 1)), 1.0)
    return tuple(weights.tolist())
