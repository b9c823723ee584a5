"""Large images on the device: near the pixels of training, and those of training where an image is not large."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

from edgemate.bundle import InputContract
from edgemate.core.fitting import fit, least_size, needed
from edgemate.core.image_files import decode_reduced
from edgemate.core.input_spec import Resize
from edgemate.core.resizing import center_crop, resize
from edgemate.runtime import Preprocessor

# What docs/images.md states, in levels of 0 to 255: of noise, and of photographs.
MEAN, P99, MOST = 1.6, 6.0, 16
OF_PHOTOGRAPHS = 0.6, 3.0, 8


def contract(interpolation: Any = "bilinear", **options: Any) -> InputContract:
    rule = Resize(mode="shorter_side", size=256, interpolation=interpolation)
    usual = {"channels": 3, "mean": (0, 0, 0), "std": (1, 1, 1), "resize": rule, "center_crop": (224, 224)}
    return InputContract(**{**usual, "height": 224, "width": 224, **options})


STRETCHED = contract(resize=Resize(mode="stretch", size=(160, 200)), center_crop=None, height=160, width=200)
PADDED = contract(resize=Resize(mode="shorter_side", size=200), center_crop=(240, 240), height=240, width=240)


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """Noise with the spectrum of photographs: amplitudes fall with the frequency."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    planes = []
    for _ in range(3):
        spectrum = np.fft.rfft2(random.normal(size=(height, width))) / frequency
        plane = np.fft.irfft2(spectrum, s=(height, width))
        planes.append(128 + 50 * (plane - plane.mean()) / plane.std())
    return Image.fromarray(np.stack(planes, axis=2).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def large() -> Image.Image:
    return photograph(1351, 1077)


def reference(image: Image.Image, spec: InputContract) -> np.ndarray:
    assert spec.resize is not None
    image = resize(image, spec.resize)
    return np.asarray(image if spec.center_crop is None else center_crop(image, spec.center_crop))


def assert_near(found: Any, wanted: np.ndarray, limits: tuple[float, float, float] = (MEAN, P99, MOST)) -> None:
    difference = np.abs(np.asarray(found).astype(int) - wanted)
    assert difference.mean() <= limits[0]
    assert np.percentile(difference, 99) <= limits[1]
    assert difference.max() <= limits[2]


@pytest.mark.parametrize("spec", [contract(), contract("bicubic"), contract("lanczos"), STRETCHED, PADDED])
def test_a_large_image_comes_near_the_pixels_of_training(large: Image.Image, spec: InputContract) -> None:
    wanted = reference(large, spec)
    assert_near(fit(large, spec, "it"), wanted)
    by_array = Preprocessor(spec).prepare(np.asarray(large)) * 255
    assert_near(by_array.transpose(1, 2, 0).round(), wanted)


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
def test_photographs_come_nearer_than_noise(tmp_path: Path, name: str) -> None:
    photo = Image.fromarray(pytest.importorskip("sklearn.datasets").load_sample_image(name))
    photo = photo.resize((3 * photo.width, 3 * photo.height), Image.Resampling.BICUBIC)
    photo.save(tmp_path / "it.jpg", quality=90)
    for image in (tmp_path / "it.jpg", np.asarray(photo)):
        exact, found = (Preprocessor(contract(), exact=exact).prepare(image) * 255 for exact in (True, False))
        assert_near(found.round(), exact.round().astype(int), OF_PHOTOGRAPHS)
        assert not np.array_equal(exact, found)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_decoded_smaller_and_lies_where_it_should(
    large: Image.Image, tmp_path: Path, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    large.save(tmp_path / "it.jpg", exif=exif, quality=95)
    spec = contract()
    reduced = decode_reduced(tmp_path / "it.jpg", 3, lambda size: least_size(size, spec))
    whole = decode_reduced(tmp_path / "it.jpg", 3, lambda size: None)
    assert whole.box == (0, 0, *whole.image.size)
    assert reduced.size == whole.size == whole.image.size
    assert max(reduced.image.size) == 676  # half of 1351, its last column half a pixel
    ready = Preprocessor(spec).prepare(tmp_path / "it.jpg").transpose(1, 2, 0) * 255
    assert_near(ready.round(), reference(whole.image, spec))


def test_gray_jpeg_files_are_decoded_smaller_too(large: Image.Image, tmp_path: Path) -> None:
    large.convert("L").save(tmp_path / "it.jpg", quality=95)
    spec = contract(channels=1, mean=(0,), std=(1,))
    exact = Preprocessor(spec, exact=True).prepare(tmp_path / "it.jpg") * 255
    assert_near((Preprocessor(spec).prepare(tmp_path / "it.jpg") * 255).round(), exact.round().astype(int))


def test_exact_pixels_are_those_of_training(large: Image.Image, tmp_path: Path) -> None:
    large.save(tmp_path / "it.jpg")
    decoded = decode_reduced(tmp_path / "it.jpg", 3, lambda size: None).image
    for image, whole in ((tmp_path / "it.jpg", decoded), (np.asarray(large), large), (large, large)):
        ready = Preprocessor(contract(), exact=True).prepare(image)
        np.testing.assert_array_equal((ready * 255).round().transpose(1, 2, 0), reference(whole, contract()))


def test_large_images_of_one_color_stay_that_color(tmp_path: Path) -> None:
    color = (10, 128, 250)
    Image.new("RGB", (1601, 1203), color).save(tmp_path / "it.jpg", quality=100, subsampling=0)
    array = np.full((1203, 1601, 3), color, np.uint8)
    for image, most in ((tmp_path / "it.jpg", 1.01), (array, 0.01)):
        ready = Preprocessor(contract()).prepare(image) * 255
        assert np.abs(ready - np.array(color)[:, None, None]).max() <= most


@settings(deadline=None, max_examples=40)
@given(width=st.integers(1, 511), height=st.integers(1, 511), interpolation=st.sampled_from(["nearest", "bilinear"]))
def test_a_small_image_gets_the_pixels_of_training(width: int, height: int, interpolation: Any) -> None:
    spec = contract(interpolation, resize=Resize(mode="stretch", size=(20, 24), interpolation=interpolation))
    spec = spec.model_copy(update={"center_crop": (16, 16), "height": 16, "width": 16})
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert least_size((width, height), spec) is None
    assert needed((width, height), spec) == (0, 0, width, height)
    wanted = reference(Image.fromarray(pixels), spec)
    np.testing.assert_array_equal(np.asarray(fit(Image.fromarray(pixels), spec, "it")), wanted)


@settings(deadline=None, max_examples=40)
@given(width=st.integers(600, 1400), height=st.integers(600, 1400), crop=st.integers(1, 200))
def test_what_is_needed_is_all_that_is_read(width: int, height: int, crop: int) -> None:
    spec = contract(resize=Resize(mode="stretch", size=(200, 200)), center_crop=(crop, crop), height=crop, width=crop)
    left, upper, right, lower = needed((width, height), spec)
    pixels = np.random.default_rng(crop).integers(0, 256, (height, width, 3), dtype=np.uint8)
    other = np.full_like(pixels, 255)
    other[upper:lower, left:right] = pixels[upper:lower, left:right]
    found = [np.asarray(fit(Image.fromarray(one), spec, "it")) for one in (pixels, other)]
    np.testing.assert_array_equal(*found)
