from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgemate.errors import RunError
from edgemate.exporting import Exported, calibration
from edgemate.exporting.calibration import calibration_logits
from edgemate.runs import Run


def test_a_bundle_has_what_every_exit_said_of_the_calibration_split(exported: Exported, finished_run: Run) -> None:
    stored, found = finished_run.read_logits("calibration"), exported.bundle.calibration()
    np.testing.assert_array_equal(found.logits, stored.logits)
    np.testing.assert_array_equal(found.labels, stored.labels)


@pytest.mark.parametrize("layout", ["segments", "prefixes"])
def test_graphs_of_a_lower_precision_are_asked_themselves(exported: Exported, finished_run: Run, layout) -> None:
    stored, bundle = finished_run.read_logits("calibration"), exported.bundle
    found = calibration_logits(finished_run, bundle.path, layout, bundle.manifest.graphs[layout], "fp16")
    np.testing.assert_array_equal(found.labels, stored.labels)
    np.testing.assert_allclose(found.logits, stored.logits, atol=1e-4)


def test_many_classes_are_sampled(finished_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = finished_run.read_logits("calibration")
    monkeypatch.setattr(calibration, "MAX_BYTES", 50 * stored.logits[0].nbytes)
    found = calibration_logits(finished_run, tmp_path, "segments", [], "fp32")
    assert found.logits.shape == (50, *stored.logits.shape[1:])
    assert set(found.labels.tolist()) == set(range(10))


def test_another_dataset_is_noticed(finished_run: Run, tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(finished_run.path, tmp_path / "run")))
    logits, labels = run.read_logits("calibration")
    run.write_logits("calibration", logits, np.roll(labels, 1))
    with pytest.raises(RunError, match="was not trained on the images that dataset digits now has"):
        calibration_logits(run, tmp_path, "segments", [], "int8")
