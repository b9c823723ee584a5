"""What one image takes before the network: decoding its file, and preparing it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgemate.bundle import InputContract
from edgemate.runtime.classifier import AnytimeClassifier
from edgemate.timing import Latency

FULL_HD = (1080, 1920)
WARMUP, MOST = 3, 100
"""Images that are not timed, and the most that are: each takes milliseconds, and they vary little."""


def measure_input(
    classifier: AnytimeClassifier, image: str | None, *, repeats: int = MOST
) -> tuple[str, Latency, Latency]:
    """Decode and prepare one image file again and again.

    Args:
        classifier: the bundle.
        image: the file; if None, a JPEG of 1920×1080, or of the only size that the bundle takes, tiled with the golden
            samples.
        repeats: how often, 100 times at most.

    Returns:
        What was timed, in words, and the times of decoding and of preparing.

    Raises:
        ImageError: the image cannot be read.
    """
    if image is not None:
        return image, *_measure(classifier, image, repeats)
    contract = classifier.input
    fixed = contract.resize is None and contract.center_crop is None
    size = contract.frame or ((contract.height, contract.width) if fixed else FULL_HD)
    tiled = tile(golden_pixels(classifier.bundle.golden().images, contract), size)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tiled.jpg"
        Image.fromarray(tiled).save(file, quality=90)
        found = _measure(classifier, str(file), repeats)
    return f"a JPEG of {tiled.shape[1]}x{tiled.shape[0]}, tiled with the golden samples", *found


def golden_pixels(images: npt.NDArray[Any], contract: InputContract) -> npt.NDArray[np.uint8]:
    """Golden samples as pixels again, uint8 `(N, H, W)` or `(N, H, W, 3)`; of noise the nearest ones."""
    if contract.dtype == "float32":
        mean, std = (np.array(each, np.float32)[:, None, None] for each in (contract.mean, contract.std))
        scaled = (images * std + mean) * contract.divisor
        images = scaled.round().clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    pixels: npt.NDArray[np.uint8] = images[..., 0] if contract.channels == 1 else images
    return pixels


def tile(images: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """An image of (height, width), filled with these `(N, H, W)` or `(N, H, W, 3)`, one after another."""
    down, across = (-(-whole // part) for whole, part in zip(size, images.shape[1:3], strict=True))
    chosen = images[np.arange(down * across) % len(images)]
    rows = [np.concatenate(chosen[row * across : (row + 1) * across], axis=1) for row in range(down)]
    return np.ascontiguousarray(np.concatenate(rows)[: size[0], : size[1]])


def _measure(classifier: AnytimeClassifier, image: str, repeats: int) -> tuple[Latency, Latency]:
    times = [classifier.preprocessor.timed(image)[1:] for _ in range(WARMUP + min(repeats, MOST))][WARMUP:]
    decode, prepare = zip(*times, strict=True)
    return Latency.of(decode), Latency.of(prepare)
