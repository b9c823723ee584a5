from __future__ import annotations

import numpy as np
import pytest
from runs import reference_logits

from edgemate.evaluation import trained_model
from edgemate.profiling.sampled_images import sample_test_split
from edgemate.runs import Run


@pytest.mark.parametrize("count", [40, 10_000])
def test_images_are_those_of_the_stored_logits(finished_run: Run, count: int) -> None:
    stored = finished_run.read_logits("test")
    images, labels = sample_test_split(finished_run, count)
    assert len(images) == len(labels) == min(count, len(stored.labels))
    assert len(set(labels)) == 10
    logits = reference_logits(trained_model(finished_run), images)
    distances = np.abs(logits[:, None] - stored.logits[None]).max((2, 3))
    assert distances.min(1).max() < 1e-4
    np.testing.assert_array_equal(stored.labels[distances.argmin(1)], labels)
