"""Images that follow one another in a stream of bytes."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgemate.live.sources.image_stream import ImageSplitter


def encoded(kind: str, seed: int, side: int = 9) -> bytes:
    """A noisy image, so that its compressed data has every byte; JPEG with a thumbnail's markers in its metadata."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side + 3, 3), dtype=np.uint8)
    target = io.BytesIO()
    options: dict[str, object] = {}
    if kind == "JPEG":
        thumbnail = io.BytesIO()
        Image.fromarray(pixels[:4, :4]).save(thumbnail, "JPEG")
        options = {"comment": thumbnail.getvalue(), "quality": 95, "progressive": bool(seed % 2)}
    Image.fromarray(pixels).save(target, kind, **options)
    return target.getvalue()


images = st.builds(encoded, st.sampled_from(["JPEG", "PNG"]), st.integers(0, 5))
# What HTTP servers put between two images, without the first bytes of one.
between = st.sampled_from([b"", b"\r\n--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 99\r\n\r\n", b"\x00" * 20])


def fed(data: bytes, cuts: list[int]) -> tuple[list[bytes], ImageSplitter]:
    splitter, found = ImageSplitter(), []
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(places):
        found += splitter.feed(data[start:end])
    return found, splitter


@given(st.lists(st.tuples(between, images), max_size=5), between, st.lists(st.integers(0, 10**6), max_size=8))
def test_the_images_come_out_as_they_went_in(parts: list[tuple[bytes, bytes]], end: bytes, cuts: list[int]) -> None:
    data = b"".join(gap + image for gap, image in parts) + end
    found, splitter = fed(data, cuts)
    assert found == [image for _, image in parts]
    assert list(splitter.finish()) == []
    assert splitter.skipped == sum(len(gap) for gap, _ in parts) + len(end)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_anything_is_survived_and_no_byte_is_lost(data: bytes, cuts: list[int]) -> None:
    found, splitter = fed(data, cuts)
    found += splitter.finish()
    assert sum(map(len, found)) + splitter.skipped == len(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_an_image_comes_with_its_last_byte(kind: str) -> None:
    image, splitter = encoded(kind, 1), ImageSplitter()
    for byte in image[:-1]:
        assert list(splitter.feed(bytes([byte]))) == []
    assert list(splitter.feed(image[-1:])) == [image]


def test_after_an_image_cut_short_the_next_ones_are_found() -> None:
    cut, whole = encoded("JPEG", 1)[:200], encoded("JPEG", 2)
    found, _ = fed(cut + whole + whole, [])
    assert whole in found


def test_what_is_longer_than_an_image_may_be_is_given_as_one_that_breaks_off() -> None:
    """So that it is counted as unreadable."""
    bomb, image = b"\x89PNG\r\n\x1a\n" + b"\xff\xff\xff\xffIDAT", encoded("PNG", 3)
    splitter = ImageSplitter(most=10_000)
    assert list(splitter.feed(bomb + image)) == [bomb, image]
    endless = b"\xff\xd8\xff\xdb\x00\x02\xff\xda\x00\x02" + b"a" * 20_000
    assert list(splitter.feed(endless)) == [endless]
    assert list(splitter.feed(b"a" * 20_000 + image)) == [image]
    assert splitter.skipped == 20_000


def test_bytes_that_only_begin_like_a_jpeg_are_no_image() -> None:
    junk = b"a\xff\xd8\xff\xe0\x00\x04bb--" * 40
    found, splitter = fed(junk, [])
    assert [*found, *splitter.finish()] == []
    assert splitter.skipped == len(junk)


def test_the_rest_is_an_image_that_is_not_whole() -> None:
    image = encoded("JPEG", 4)
    _, splitter = fed(image + image[:100], [])
    assert list(splitter.finish()) == [image[:100]]


@pytest.mark.parametrize("first", ["JPEG", "PNG"])
@pytest.mark.parametrize("then", ["JPEG", "PNG"])
def test_an_image_that_breaks_off_anywhere_takes_nothing_of_the_next(first: str, then: str) -> None:
    whole, after = plain(first, 1), plain(then, 2)
    for kept in range(30, len(whole)):
        broken = whole[:kept]
        found, splitter = fed(after + broken + after, [kept])
        assert [*found, *splitter.finish()] == [after, broken, after], kept


def plain(kind: str, seed: int) -> bytes:
    """A noisy image without metadata."""
    target = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(target, kind)
    return target.getvalue()


def test_a_thumbnail_of_an_image_that_breaks_off_is_no_image() -> None:
    image = encoded("JPEG", 2)
    found, _ = fed(image[:-20] + image, [])
    assert found == [image[:-20], image]


@pytest.mark.parametrize("kept", [0.1, 0.3, 0.6, 0.9])
def test_a_jpeg_cut_short_between_whole_ones_is_given_as_it_is(kept: float) -> None:
    """So that it is counted as unreadable."""
    target = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(target, "JPEG")
    whole = target.getvalue()
    cut = whole[: int(kept * len(whole))]
    found, splitter = fed(whole + cut + whole + whole, [])
    assert found == [whole, cut, whole, whole]
    assert list(splitter.finish()) == []
    assert splitter.skipped == 0
