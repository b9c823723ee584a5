"""Generated videos, made by PyAV."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 frames of 32×24 at 25 fps, each brighter than the last; tests must not change it."""
    return write_video(tmp_path_factory.mktemp("videos") / "steps.mp4", steps(20), rate=25)


def steps(count: int, size: tuple[int, int] = (24, 32)) -> Iterator[np.ndarray]:
    """Gray frames, each brighter than the last."""
    for index in range(count):
        yield np.full((*size, 3), 10 + (index * 11) % 240, np.uint8)


def write_video(
    path: Path, frames: Iterable[np.ndarray], *, rate: int = 30, codec: str = "mpeg4", begin: int = 0, every: int = 1
) -> Path:
    """Write RGB frames `(H, W, 3)` to a video file, the first one `begin` seconds after its start.

    They come at every so many of its `rate` times a second.
    """
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = None
        for number, pixels in zip(count(begin * rate, every), frames, strict=False):
            if stream is None:
                stream = container.add_stream(codec, rate=rate)
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def jpeg(seed: int, size: tuple[int, int] = (24, 32)) -> bytes:
    """A noisy JPEG image of (height, width)."""
    target = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(target, "JPEG")
    return target.getvalue()
