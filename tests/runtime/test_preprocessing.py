from __future__ import annotations

import struct
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

from edgemate.bundle import InputContract
from edgemate.core.input_spec import Resize
from edgemate.errors import ImageError
from edgemate.runtime import Preprocessor


def contract(channels: int = 3, height: int = 8, width: int = 8, **options: Any) -> InputContract:
    mean, std = (0.485, 0.456, 0.406)[:channels], (0.229, 0.224, 0.225)[:channels]
    return InputContract(channels=channels, height=height, width=width, mean=mean, std=std, **options)


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def by_torchvision(image: Image.Image, metadata: InputContract) -> np.ndarray:
    import torch
    from torchvision.transforms import v2

    steps: list[Any] = []
    if metadata.resize is not None:
        interpolation = v2.InterpolationMode(metadata.resize.interpolation)
        size = metadata.resize.size
        steps.append(v2.Resize(list(size) if isinstance(size, tuple) else size, interpolation))
    if metadata.center_crop is not None:
        steps.append(v2.CenterCrop(list(metadata.center_crop)))
    steps += [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(metadata.mean, metadata.std)]
    result: torch.Tensor = v2.Compose(steps)(image)
    return result.numpy()


SIDES = st.integers(1, 40)


@pytest.mark.skipif(find_spec("torchvision") is None, reason="needs torchvision")
@settings(deadline=None)
@given(
    image=st.tuples(SIDES, SIDES),
    size=st.tuples(SIDES, SIDES),
    shorter=SIDES,
    mode=st.sampled_from(["none", "crop", "stretch", "stretch and crop", "shorter side and crop"]),
    interpolation=st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
    channels=st.sampled_from([1, 3]),
)
def test_it_is_what_torchvision_does(
    image: tuple[int, int],
    size: tuple[int, int],
    shorter: int,
    mode: str,
    interpolation: Any,
    channels: int,
) -> None:
    resize = {
        "stretch": Resize(mode="stretch", size=size, interpolation=interpolation),
        "stretch and crop": Resize(mode="stretch", size=(shorter, shorter + 3), interpolation=interpolation),
        "shorter side and crop": Resize(mode="shorter_side", size=shorter, interpolation=interpolation),
    }.get(mode)
    crop = size if "crop" in mode else None
    height, width = image if mode == "none" else size
    metadata = contract(channels, height, width, resize=resize, center_crop=crop)
    image = Image.fromarray(noise(*image, channels, seed=shorter))
    ready = Preprocessor(metadata).prepare(image)
    assert ready.dtype == np.float32
    assert ready.shape == (channels, height, width)
    np.testing.assert_allclose(ready, by_torchvision(image, metadata), rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_every_kind_of_image_becomes_gray_or_rgb(tmp_path: Path, mode: str, channels: int) -> None:
    image = Image.fromarray(noise(8, 8, 1), "L").convert("I;16" if mode == "I;16" else mode)
    assert Preprocessor(contract(channels)).prepare(image).shape == (channels, 8, 8)


def test_a_transparent_palette_image_is_read_without_a_warning(tmp_path: Path) -> None:
    image = Image.fromarray(noise(8, 8)).quantize(16)
    image.save(tmp_path / "palette.png", transparency=bytes(range(16)))
    assert Preprocessor(contract()).prepare(tmp_path / "palette.png").shape == (3, 8, 8)


def test_a_file_is_turned_upright(tmp_path: Path) -> None:
    upright = Image.fromarray(noise(8, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # held a quarter turn to the left
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    metadata = contract(3, 8, 4)
    np.testing.assert_array_equal(
        Preprocessor(metadata).prepare(tmp_path / "turned.png"), Preprocessor(metadata).prepare(upright)
    )


def test_arrays_of_pixels_are_images() -> None:
    preprocessor = Preprocessor(contract())
    pixels = noise(8, 8)
    expected = preprocessor.prepare(Image.fromarray(pixels))
    np.testing.assert_array_equal(preprocessor.prepare(pixels), expected)
    opaque = np.dstack([pixels, np.full((8, 8), 255, np.uint8)])
    np.testing.assert_array_equal(preprocessor.prepare(opaque), expected)
    gray = noise(8, 8, 1)
    np.testing.assert_array_equal(preprocessor.prepare(gray), preprocessor.prepare(gray[:, :, None]))
    np.testing.assert_array_equal(preprocessor.prepare(pixels[::-1, ::-1]), expected[:, ::-1, ::-1])


def test_preprocessed_arrays_are_not_changed() -> None:
    ready = np.random.default_rng(0).normal(size=(5, 3, 8, 8)).astype(np.float32)
    preprocessor = Preprocessor(contract())
    np.testing.assert_array_equal(preprocessor.prepare(ready[0]), ready[0])
    np.testing.assert_array_equal(np.concatenate(list(preprocessor.batches(ready, 2))), ready)
    np.testing.assert_array_equal(np.concatenate(list(preprocessor.batches(list(ready), 2))), ready)


def test_batches_are_not_larger_than_requested() -> None:
    images = [noise(8, 8, seed=seed) for seed in range(7)]
    preprocessor = Preprocessor(contract())
    assert [len(batch) for batch in preprocessor.batches(images, 3)] == [3, 3, 1]
    assert [len(batch) for batch in preprocessor.batches(images[0], 3)] == [1]
    assert list(preprocessor.batches([], 3)) == []


def write_not_a_image(path: Path) -> None:
    path.write_text("no image")


def write_empty(path: Path) -> None:
    path.touch()


def write_truncated(path: Path) -> None:
    Image.fromarray(noise(64, 64)).save(path, "PNG")
    path.write_bytes(path.read_bytes()[:2000])


def write_truncated_jpeg(path: Path) -> None:
    Image.fromarray(noise(64, 64)).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:1500])


def write_bomb(path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    )


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (write_not_a_image, "is not an image that Pillow can read"),
        (write_empty, "is not an image that Pillow can read"),
        (write_truncated, "cannot be decoded"),
        (write_truncated_jpeg, "cannot be decoded"),
        (write_bomb, "cannot be decoded"),
        (Path.mkdir, "is a folder, not an image"),
        (lambda path: None, "no such file"),
    ],
)
def test_a_file_that_is_not_an_image_is_named(tmp_path: Path, write: Any, problem: str) -> None:
    path = tmp_path / "given.png"
    write(path)
    with pytest.raises(ImageError) as caught:
        Preprocessor(contract(resize=Resize(mode="stretch", size=(8, 8)))).prepare(path)
    assert str(caught.value).startswith(f"{path}: {problem}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        (
            np.zeros((8, 9, 3), np.uint8),
            "uint8 array (8, 9, 3): its shape after preprocessing is (3, 8, 9); the network takes (3, 8, 8)",
        ),
        (np.zeros((3, 8, 9), np.float32), "float32 array: its shape after preprocessing is (3, 8, 9)"),
        (np.zeros((8, 8, 3)), "float64 array (8, 8, 3) is not an image"),
        (np.zeros((2, 8, 8, 3), np.uint8), "uint8 array (2, 8, 8, 3) is not an image"),
        (np.zeros((8, 8, 2), np.uint8), "is not an image"),
        (np.zeros((0, 8, 3), np.uint8), "has no pixels"),
        (3, "int is not an image; give a path"),
        (None, "NoneType is not an image"),
    ],
)
def test_other_types_and_shapes_are_refused(image: Any, problem: str) -> None:
    with pytest.raises(ImageError) as caught:
        Preprocessor(contract()).prepare(image)
    assert problem in str(caught.value)


def test_a_batch_of_another_shape_is_refused() -> None:
    with pytest.raises(ImageError, match="the network takes"):
        list(Preprocessor(contract()).batches(np.zeros((2, 3, 9, 9), np.float32), 2))


def test_a_sliver_is_not_enlarged_beyond_the_limit() -> None:
    metadata = contract(1, 400, 400, resize=Resize(mode="shorter_side", size=400), center_crop=(400, 400))
    with pytest.raises(ImageError, match="would become 1600000x400, which is too large"):
        Preprocessor(metadata).prepare(np.zeros((1, 4000), np.uint8))
