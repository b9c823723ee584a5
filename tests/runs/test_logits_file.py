from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgemate.errors import RunError
from edgemate.runs import Run, logits_file

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


def batches(images: int = 50, exits: int = 3, classes: int = 7, size: int = 8) -> list[Batch]:
    random = np.random.default_rng(0)
    logits = random.standard_normal((images, exits, classes), dtype=np.float32)
    labels = random.integers(0, classes, images)
    return [(logits[i : i + size], labels[i : i + size]) for i in range(0, images, size)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run")


@pytest.mark.parametrize(
    ("mapped_from", "half_from", "dtype"),
    [(1 << 20, 1 << 20, np.float32), (100, 1 << 20, np.float32), (100, 100, np.float16)],
)
def test_what_was_streamed_is_read(
    run: Run, monkeypatch: pytest.MonkeyPatch, mapped_from: int, half_from: int, dtype: type[Any]
) -> None:
    monkeypatch.setattr(logits_file, "MAPPED_FROM", mapped_from)
    monkeypatch.setattr(logits_file, "HALF_FROM", half_from)
    run.stream_logits("test", batches(), 50)
    logits, labels = (np.concatenate(column) for column in zip(*batches(), strict=True))
    found = run.read_logits("test")
    assert isinstance(found.logits, np.memmap) == (mapped_from == 100)
    assert found.logits.flags.aligned
    assert found.logits.dtype == dtype
    np.testing.assert_array_equal(found.logits, logits.astype(dtype))
    np.testing.assert_array_equal(found.labels, labels)
    with np.load(run.logits_path("test"), allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["logits"], found.logits)
        np.testing.assert_array_equal(archive["labels"], labels)


def test_float16_takes_the_nearest_number_that_it_has(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logits_file, "MAPPED_FROM", 0)
    monkeypatch.setattr(logits_file, "HALF_FROM", 0)
    given = np.array([[[1e6, -1e6, 0.1, np.inf, -np.inf, np.nan]]], dtype=np.float32)
    run.write_logits("test", given, np.zeros(1, np.int64))
    expected = [65504, -65504, np.float16(0.1), np.inf, -np.inf, np.nan]
    np.testing.assert_array_equal(run.read_logits("test").logits[0, 0], np.array(expected, dtype=np.float16))


@pytest.mark.parametrize("limit", [0, 1 << 20])
@pytest.mark.parametrize("promised", [49, 51, 0])
def test_another_number_of_images_than_promised_leaves_the_old_file(
    run: Run, monkeypatch: pytest.MonkeyPatch, limit: int, promised: int
) -> None:
    run.stream_logits("test", batches(), 50)
    before = run.logits_path("test").read_bytes()
    monkeypatch.setattr(logits_file, "MAPPED_FROM", limit)
    with pytest.raises(RunError, match=r"test\.npz: cannot be written: (50 images, not|no images)"):
        run.stream_logits("test", batches(), promised)
    assert [path.name for path in run.logits_path("test").parent.iterdir()] == ["test.npz"]
    assert run.logits_path("test").read_bytes() == before


def test_batches_of_other_networks_are_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logits_file, "MAPPED_FROM", 0)
    with pytest.raises(RunError, match=r"logits \(10, 3, 5\) among logits \(n, 3, 7\)"):
        run.stream_logits("test", [*batches(), *batches(10, classes=5, size=10)], 60)


def test_a_file_that_is_cut_off_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logits_file, "MAPPED_FROM", 0)
    run.stream_logits("test", batches(), 50)
    content = run.logits_path("test").read_bytes()
    for kept in (content[: len(content) // 2], content[: len(content) // 2] + content[len(content) // 2 + 400 :]):
        run.logits_path("test").write_bytes(kept)
        with pytest.raises(RunError, match=r"test\.npz: cannot be read as arrays"):
            run.read_logits("test")


def test_memory_does_not_grow_with_the_split(run: Run) -> None:
    images, shape, size = 50_000, (4, 100), 500

    def stream() -> Iterator[Batch]:
        for _ in range(images // size):
            yield np.ones((size, *shape), np.float32), np.zeros(size, np.int64)

    tracemalloc.start()
    try:
        run.stream_logits("test", stream(), images)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert run.read_logits("test").logits.nbytes == 80_000_000
    assert peak < 16_000_000
