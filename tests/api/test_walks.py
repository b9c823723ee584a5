"""How many files a reader crosses from a verb to what does the work."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from bundles import own_bundle, small_bundle
from commands import invoke
from PIL import Image
from walk import files_called

import edgemate
from edgemate.api import Answer, Calibration, Classified
from edgemate.calibration.calibrator import Calibrated, Request
from edgemate.calibration.stored_split import StoredSplit
from edgemate.cli.classify import classify
from edgemate.runtime import Prediction

__all__ = ["own_bundle", "small_bundle"]


def test_calibrate_crosses_at_most_7_files_to_the_solver(own_bundle: Path) -> None:
    carried = (Calibration, Calibrated, Request, StoredSplit)
    walk = files_called(lambda: edgemate.calibrate(own_bundle, max_accuracy_drop=50), carrying=carried)
    assert walk[0] == "api/calibrating.py"
    assert any(file.endswith("solvers/direct.py") for file in walk)
    assert len(walk) <= 7, walk


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs onnxruntime")
def test_classify_crosses_at_most_4_files_from_the_command_to_the_classifier(own_bundle: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "black.png")

    def command() -> None:
        assert invoke(classify, own_bundle, tmp_path, "--threads", 1).exit_code == 0

    walk = files_called(command, carrying=(Answer, Classified, Prediction))
    assert {"cli/classify.py", "api/classifying.py", "runtime/classifier.py"} <= set(walk)
    assert len(walk) <= 4, walk
