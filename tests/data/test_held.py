"""Image files that are decoded once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from toy_data import write_image

from edgemate.core.input_spec import InputSpec, Resize
from edgemate.data.held import fitted_array, held_bytes, hold
from edgemate.data.source import FileImages
from edgemate.data.transforms import EvaluationTransform
from edgemate.errors import ImageError
from edgemate.progress import Progress


class Heard(Progress):
    def __init__(self) -> None:
        self.steps: list[str] = []
        self.done: list[tuple[int, int]] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def advance(self, done: int, total: int) -> None:
        self.done.append((done, total))


def files_in(folder: Path, channels: int = 3) -> FileImages:
    paths = [write_image(folder / f"{n}.png", (10 + n, 8), seed=n) for n in range(5)]
    return FileImages(paths, np.arange(5), channels)  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [1, 3])
def test_held_images_are_those_of_the_files_without_reading_them_again(tmp_path: Path, channels: int) -> None:
    files = files_in(tmp_path, channels)
    expected = [files.image(n) for n in range(5)]
    heard = Heard()
    held = hold(files, np.array([3, 1, 3]), heard)
    assert heard.done[-1] == (2, 2)
    assert "decoding" in heard.steps[0]
    for n in (1, 3):
        files.paths[n].unlink()
    for n in range(5):
        assert (held.image(n).mode, held.image(n).tobytes()) == (expected[n].mode, expected[n].tobytes())
    assert (len(held), held.array) == (5, None)
    assert held.labels.tolist() == [0, 1, 2, 3, 4]


def test_a_held_image_cannot_be_changed_through_what_is_returned(tmp_path: Path) -> None:
    held = hold(files_in(tmp_path), np.array([0]))
    before = held.image(0).tobytes()
    held.image(0).putpixel((0, 0), (1, 2, 3))
    assert held.image(0).tobytes() == before


def test_a_file_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    files.paths[2].write_bytes(files.paths[2].read_bytes()[:60])
    with pytest.raises(ImageError, match=r"2\.png"):
        hold(files, np.arange(5))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_memory_is_known_beforehand(tmp_path: Path, channels: int) -> None:
    files = files_in(tmp_path, channels)
    held = hold(files, np.arange(5))
    assert held_bytes(files, np.arange(5)) == sum(pixels.nbytes for pixels in held.pixels.values())
    assert held_bytes(files, np.arange(0)) == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_an_array_holds_what_the_network_is_given(tmp_path: Path, channels: int) -> None:
    files = files_in(tmp_path, channels)
    spec = InputSpec(
        channels=channels,  # type: ignore[arg-type]
        height=6,
        width=7,
        resize=Resize(mode="shorter_side", size=9),
        center_crop=(6, 7),
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )
    array = fitted_array(files, np.array([4, 0]), spec)
    assert (array.shape, array.dtype) == ((2, 6, 7, channels), np.uint8)
    scaled = torch.from_numpy(array).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(scaled, EvaluationTransform(spec)(files, np.array([4, 0])))
