"""Small copies of some images, for the lists of those that left early and those that needed the last exit."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgemate.core.image_files import decode
from edgemate.errors import DataError, ImageError, RecipeError, RunError
from edgemate.report.subject import Subject
from edgemate.runs import Run
from edgemate.runtime.preprocessing import ImageInput

COUNT = 60
SIDE = 72


class NoImagesError(Exception):
    """Why there are no images to show, as a sentence."""


def thumbnails(subject: Subject, exits_taken: npt.NDArray[np.intp], count: int = COUNT) -> list[dict[str, Any]]:
    """Up to `count` images, drawn at random: a third that leave at exit 1, a third that need the last, a third any.

    Args:
        subject: what they are images of.
        exits_taken: by the images at the operating point that the page starts with, 1-based `(N,)`.
        count: how many at most.

    Returns:
        For each its index in the split, a data URI, and the class that each exit takes it for.

    Raises:
        NoImagesError: the images of a bundle, or of a dataset that is missing, are not available.
    """
    image_at = _images_of(subject)
    named = subject.stored.reductions.named
    found = []
    for index in _drawn(exits_taken, subject.exits, count):
        try:
            source = _data_uri(image_at(index))
        except (DataError, ImageError):
            continue
        found.append({"index": int(index), "source": source, "named": named[index].tolist()})
    return found


def _images_of(subject: Subject) -> Callable[[int], Image.Image]:
    """What gives an image of the split by its index."""
    given = subject.given
    if given is not None:
        return lambda index: _opened(given[index])
    if not isinstance(subject.opened, Run):
        raise NoImagesError("A bundle carries the logits of its calibration split, and not the images.")
    # Importing the data package takes torch.
    from edgemate.profiling.sampled_images import tested_images

    try:
        images, tested = tested_images(subject.opened)
    except (DataError, RecipeError, RunError) as error:
        raise NoImagesError(f"The test images are not available: {error}") from error
    return lambda index: images.image(int(tested[index]))


def _opened(image: ImageInput) -> Image.Image:
    if not isinstance(image, np.ndarray):
        return decode(image, 3, str(image))
    if image.dtype != np.uint8:
        raise ImageError("a preprocessed array is not an image to show")
    return Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image[..., :3] if image.ndim == 3 else image)


def _drawn(exits_taken: npt.NDArray[np.intp], exits: int, count: int) -> list[int]:
    random = np.random.default_rng(0)
    chosen: dict[int, None] = {}
    groups = (np.flatnonzero(exits_taken == 1), np.flatnonzero(exits_taken == exits), np.arange(len(exits_taken)))
    for group in groups:
        chosen |= dict.fromkeys(random.permutation(group)[: count // 3].tolist())
    return list(chosen)


def _data_uri(image: Image.Image) -> str:
    small = image.convert("RGB")
    if max(small.size) > SIDE:
        small.thumbnail((SIDE, SIDE))
    content = io.BytesIO()
    # JPEG blurs images of a few pixels, and saves nothing there.
    kind = "jpeg" if max(small.size) > 40 else "png"
    small.save(content, format=kind, **({"quality": 80} if kind == "jpeg" else {"optimize": True}))
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
