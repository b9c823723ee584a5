from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemate.core import chunks, scoring
from edgemate.core.class_report import ClassReport


def made(images: int, exits: int, classes: int, seed: int = 0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    logits = random.standard_normal((images, exits, classes), dtype=np.float32) * 3
    return logits, random.integers(0, classes, images)


@given(st.integers(0, 300), st.integers(1, 50), st.integers(1, 4000))
def test_slices_cover_every_row_once_in_order(rows: int, numbers: int, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK_BYTES", size)
        found = chunks.chunk_slices(rows, numbers)
    assert [i for part in found for i in range(rows)[part]] == list(range(rows))
    assert all((part.stop - part.start) * numbers * 4 <= max(size, 4 * numbers) for part in found)


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_order_and_in_float32(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 4 * 6 * 7)
    monkeypatch.setattr(chunks, "_cores", lambda: threads)
    logits = made(100, 2, 3)[0].astype(np.float16)
    found = list(chunks.map_chunks(lambda chunk, rows: (chunk, rows), logits))
    assert len(found) == 15
    assert all(rows == inner for rows, (_, inner) in found)
    assert {chunk.dtype for _, (chunk, _) in found} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(np.concatenate([chunk for _, (chunk, _) in found]), logits)


def test_an_error_in_a_chunk_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 64)

    def fail(chunk: npt.NDArray[Any], rows: slice) -> None:
        raise RuntimeError(rows.start)

    with pytest.raises(RuntimeError, match="0"):
        list(chunks.map_chunks(fail, made(100, 2, 3)[0]))


def test_a_mapped_array_is_readable_after_its_pages_are_released(tmp_path: Path) -> None:
    logits = made(2000, 2, 50)[0]
    np.save(tmp_path / "logits.npy", logits)
    mapped = np.load(tmp_path / "logits.npy", mmap_mode="r")
    for array in (mapped, mapped[:, 1], np.asarray(mapped), logits):
        chunks.release(array)
    np.testing.assert_array_equal(mapped, logits)


def test_rows_are_taken_in_the_order_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "TAKEN_AT_ONCE", 7)
    logits, rows = made(100, 2, 3)[0], np.random.default_rng(0).permutation(100)[:50]
    np.testing.assert_array_equal(chunks.take_rows(logits, rows), logits[rows])


@pytest.mark.parametrize(
    "figure",
    [
        scoring.exit_accuracy,
        scoring.confusion_matrices,
        scoring.ensemble_accuracy,
        scoring.negative_log_likelihood,
        scoring.expected_calibration_error,
        lambda logits, labels: scoring.top_k_accuracy(logits, labels, 5),
        lambda logits, labels: ClassReport.of(logits, labels, "abcdefg").confusion,
    ],
)
def test_figures_do_not_depend_on_the_chunks(figure: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = made(500, 3, 7)
    whole = figure(logits, labels)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1000)
    np.testing.assert_allclose(figure(logits, labels), whole, rtol=1e-12)
