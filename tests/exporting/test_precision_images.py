from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from toy_data import array_source, prepare

from edgemate.errors import RunError
from edgemate.exporting.precision_images import precision_images
from edgemate.runs import Run


def test_both_samples_are_disjoint_calibration_images(finished_run: Run) -> None:
    found = precision_images(finished_run)
    data = prepare("digits", calibration_fraction=finished_run.read_recipe().data.calibration_fraction)
    calibration = data.splits.calibration
    assert set(found.indices) <= set(calibration.tolist())
    assert list(found.indices) == sorted(set(found.indices))
    assert len(found.indices) == len(calibration) // 2
    assert len(found.labels) == len(calibration) - len(found.indices)
    images = np.concatenate([batch.numpy() for batch, _ in data.calibration_loader()])
    place = {int(index): i for i, index in enumerate(calibration)}
    np.testing.assert_array_equal(found.ranges, images[[place[index] for index in found.indices]])
    rest = np.setdiff1d(calibration, found.indices)
    np.testing.assert_array_equal(found.images, images[[place[int(index)] for index in rest]])
    np.testing.assert_array_equal(found.labels, data.source.train.labels[rest])
    assert set(found.labels) == set(range(10))


def test_they_are_the_same_every_time(finished_run: Run) -> None:
    first, again = precision_images(finished_run), precision_images(finished_run)
    assert first.indices == again.indices
    np.testing.assert_array_equal(first.images, again.images)


def test_a_large_split_is_not_used_up(finished_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgemate.exporting.precision_images.RANGE_IMAGES", 30)
    monkeypatch.setattr("edgemate.exporting.precision_images.CHECK_IMAGES", 50)
    found = precision_images(finished_run)
    assert (len(found.ranges), len(found.images)) == (30, 50)
    assert np.bincount(found.labels, minlength=10).min() >= 4


@pytest.mark.parametrize("changes", [{}, {"classes": ("one", "two", "three", "four")}])
def test_other_images_than_the_runs_are_refused(
    finished_run: Run, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    source = dataclasses.replace(array_source(size=(8, 8), channels=1), **changes)
    monkeypatch.setattr("edgemate.exporting.precision_images.load_source", lambda name, options, **_: source)
    with pytest.raises(RunError, match="was not trained on the images that dataset digits now has"):
        precision_images(finished_run)
