from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from runs import reference_logits

from edgemate.errors import RunError
from edgemate.evaluation import trained_model
from edgemate.runs import Run, read_tensors, write_tensors


def test_the_loaded_network_gives_the_logits_of_the_trained_one(finished_run: Run) -> None:
    model = trained_model(finished_run)
    assert not model.training
    images, labels = finished_run.read_golden()
    stored, stored_labels = finished_run.read_logits("test")
    np.testing.assert_array_equal(labels, stored_labels[: len(labels)])
    np.testing.assert_allclose(reference_logits(model, images), stored[: len(images)], atol=1e-4)


def test_weights_of_another_network_are_refused(finished_run: Run, tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(finished_run.path, tmp_path / "run")))
    weights = read_tensors(run.model_path)
    write_tensors(run.model_path, {**weights, "heads.0.classifier.bias": torch.zeros(11)})
    with pytest.raises(
        RunError, match=r"model\.safetensors: not the weights of recipe\.yaml's network: .*bias"
    ) as info:
        trained_model(run)
    assert "\n" not in str(info.value)
