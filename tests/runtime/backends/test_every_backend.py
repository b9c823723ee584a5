"""What must hold on every backend, TensorRT on a real GPU included (`-m gpu`)."""

from __future__ import annotations

import numpy as np
import pytest
from backends import Opener

from edgemate.errors import BackendError
from edgemate.runtime.backends.base import Backend

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module")
def segments(opener: Opener) -> Backend:
    return opener()


@pytest.fixture(scope="module")
def golden(opener: Opener):
    return opener.bundle.golden()


def test_segments_give_the_golden_logits(segments: Backend, golden) -> None:
    flow = segments.begin(golden.images)
    for exit in range(3):
        logits = flow.advance()
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, golden.logits[:, exit], **CLOSE)


def test_features_between_segments_are_those_of_onnxruntime(segments: Backend, golden, opener: Opener) -> None:
    pytest.importorskip("onnxruntime")
    from edgemate.runtime.backends.onnxruntime import ONNXRuntimeBackend

    reference = ONNXRuntimeBackend(opener.bundle, layout="segments", threads=1)
    kept = np.array([1, 4])
    flows = [backend.begin(golden.images[:6]) for backend in (segments, reference)]
    for _ in range(2):
        found, expected = [], []
        for flow, into in zip(flows, (found, expected), strict=True):
            flow.advance()
            into.append(flow.features())
            flow.keep(kept)
            into.append(flow.features())
        for ours, theirs in zip(found, expected, strict=True):
            assert ours
            assert set(ours) == set(theirs)
            for name, array in ours.items():
                np.testing.assert_allclose(array, theirs[name], **CLOSE)
        kept = np.array([1])
    reference.close()


@pytest.mark.parametrize("rows", [1, 2, 4, 5, 24])
def test_any_batch_size_gives_the_same(segments: Backend, golden, rows: int) -> None:
    for _ in range(3):  # the first may be run in another way than those after it
        flow = segments.begin(golden.images[:rows])
        for exit in range(3):
            np.testing.assert_allclose(flow.advance(), golden.logits[:rows, exit], **CLOSE)


def test_images_that_are_not_kept_are_gone_from_every_tensor(segments: Backend, golden) -> None:
    flow = segments.begin(golden.images)
    flow.advance()
    flow.keep(np.array([0, 5, 7]))
    np.testing.assert_allclose(flow.advance(), golden.logits[[0, 5, 7], 1], **CLOSE)
    flow.keep(np.array([2]))
    np.testing.assert_allclose(flow.advance(), golden.logits[[7], 2], **CLOSE)


def test_whoever_is_kept_gets_its_own_answer(segments: Backend, golden) -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        rows = np.arange(len(golden.images))
        flow = segments.begin(golden.images)
        for exit in range(3):
            np.testing.assert_allclose(flow.advance(), golden.logits[rows, exit], **CLOSE)
            kept = np.flatnonzero(random.random(len(rows)) < 0.6)
            if not len(kept):
                break
            rows = rows[kept]
            flow.keep(kept)


def test_logits_stay_what_they_were(segments: Backend, golden) -> None:
    flow = segments.begin(golden.images[:2])
    first = flow.advance()
    segments.begin(golden.images[5:7]).advance()
    flow.advance()
    np.testing.assert_allclose(first, golden.logits[:2, 0], **CLOSE)


def test_two_passes_at_once_do_not_mix(segments: Backend, golden) -> None:
    first, second = segments.begin(golden.images[:1]), segments.begin(golden.images[1:2])
    first.advance(), second.advance()
    np.testing.assert_allclose(first.advance(), golden.logits[:1, 1], **CLOSE)
    np.testing.assert_allclose(second.advance(), golden.logits[1:2, 1], **CLOSE)


def test_a_pass_that_was_given_up_leaves_no_trace(segments: Backend, golden) -> None:
    for index in range(5):
        segments.begin(golden.images[index : index + 3]).advance()
    flow = segments.begin(golden.images[9:10])
    for exit in range(3):
        np.testing.assert_allclose(flow.advance(), golden.logits[9:10, exit], **CLOSE)


def test_a_batch_has_no_answer_after_the_last_segments(segments: Backend, golden) -> None:
    flow = segments.begin(golden.images[:2])
    for _ in range(3):
        flow.advance()
    with pytest.raises(BackendError, match="no segment is left"):
        flow.advance()


def test_one_image_gives_the_golden_logits_segment_by_segment(segments: Backend, golden) -> None:
    for image, expected in zip(golden.images[:6], golden.logits[:6], strict=True):
        flow = segments.begin_one(image[None])
        for exit in range(3):
            row = flow.advance()
            assert (row.dtype, row.shape) == (np.float32, expected[exit].shape)
            np.testing.assert_allclose(row, expected[exit], **CLOSE)
        with pytest.raises(BackendError, match="no segment is left"):
            flow.advance()
        flow.end()


def test_passes_of_one_image_do_not_mix_with_each_other_or_with_a_batch(segments: Backend, golden) -> None:
    first, batch, second = (
        segments.begin_one(golden.images[:1]),
        segments.begin(golden.images[2:5]),
        segments.begin_one(golden.images[1:2]),
    )
    for exit in range(3):
        rows = [first.advance(), *batch.advance(), second.advance()]
        np.testing.assert_allclose(rows, golden.logits[[0, 2, 3, 4, 1], exit], **CLOSE)
    first.end(), second.end()


def test_logits_of_one_image_stay_until_the_pass_is_ended(segments: Backend, golden) -> None:
    flow = segments.begin_one(golden.images[:1])
    rows = [flow.advance() for _ in range(3)]
    other = segments.begin_one(golden.images[5:6])
    other.advance()
    np.testing.assert_allclose(rows, golden.logits[0], **CLOSE)
    flow.end(), other.end()


def test_prefixes_give_the_golden_logits(opener: Opener, golden) -> None:
    backend = opener("prefixes")
    for exit in (1, 2, 3):
        for _ in range(2):
            np.testing.assert_allclose(backend.run_prefix(exit, golden.images), golden.logits[:, exit - 1], **CLOSE)


def test_images_of_another_shape_are_one_line(segments: Backend) -> None:
    with pytest.raises(BackendError) as caught:
        segments.begin(np.zeros((1, 5, 8, 8), np.float32)).advance()
    with pytest.raises(BackendError) as caught_one:
        segments.begin_one(np.zeros((1, 5, 8, 8), np.float32)).advance()
    for error in (caught, caught_one):
        assert "segment_1" in str(error.value)
        assert "\n" not in str(error.value)


def test_it_says_what_it_is(segments: Backend) -> None:
    metadata = segments.metadata()
    assert metadata
    assert all(isinstance(value, str) and value for value in metadata.values())
