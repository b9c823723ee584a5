"""On every backend: answers that are sums of what the exits so far say, which crosses the cuts as (n, k, C)."""

from __future__ import annotations

import numpy as np
import pytest
from backends import Opener

from edgemate.runtime.backends.base import Backend
from edgemate.runtime.backends.wiring import wire

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module")
def segments(mixing_opener: Opener) -> Backend:
    return mixing_opener()


@pytest.fixture(scope="module")
def golden(mixing_opener: Opener):
    return mixing_opener.bundle.golden()


def test_what_was_said_passes_every_cut_and_is_kept_no_longer(mixing_opener: Opener) -> None:
    steps = wire(mixing_opener.bundle.manifest.graphs["segments"])
    assert steps[1].takes == ("fine", "coarse", "raw_logits_1")
    assert steps[1].gives == ("logits_2", "features_2", "raw_logits_2")
    assert set(steps[1].done) == {"fine", "coarse", "raw_logits_1", "logits_2"}


@pytest.mark.parametrize("rows", [1, 3, 24])
def test_segments_give_the_golden_answers(segments: Backend, golden, rows: int) -> None:
    for _ in range(2):
        flow = segments.begin(golden.images[:rows])
        for exit in range(3):
            np.testing.assert_allclose(flow.advance(), golden.logits[:rows, exit], **CLOSE)


def test_whoever_is_kept_goes_on_with_what_its_own_exits_said(segments: Backend, golden) -> None:
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


def test_prefixes_and_the_conditional_graph_give_the_same(mixing_opener: Opener, golden) -> None:
    prefixes, conditional = mixing_opener("prefixes"), mixing_opener("conditional")
    for exit in (1, 2, 3):
        np.testing.assert_allclose(prefixes.run_prefix(exit, golden.images), golden.logits[:, exit - 1], **CLOSE)
        thresholds = np.array([0.0 if early >= exit else 1.0 for early in (1, 2)], np.float32)
        for image, wanted in zip(golden.images[:3], golden.logits[:3, exit - 1], strict=True):
            logits, taken = conditional.run_conditional(image[None], thresholds)
            assert taken == exit
            np.testing.assert_allclose(logits[0], wanted, **CLOSE)
