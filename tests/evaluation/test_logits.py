from __future__ import annotations

import numpy as np
import pytest
import torch

from edgemate.config import Exits, Model
from edgemate.evaluation import collect_logits
from edgemate.models import MultiExitModel, build_model


@pytest.fixture
def model() -> MultiExitModel:
    torch.manual_seed(0)
    return build_model(Model(backbone="resnet8", options={"width": 4}), Exits(), channels=1, classes=3)


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    random = torch.Generator().manual_seed(1)
    return [(torch.randn(n, 1, 8, 8, generator=random), torch.arange(n) % 3) for n in (4, 4, 1)]


def test_logits_and_labels_come_in_order(model: MultiExitModel) -> None:
    logits, labels = collect_logits(model, batches())
    assert logits.shape == (9, 3, 3)
    assert logits.dtype == np.float32
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 1, 2, 0, 0, 1, 2, 0, 0]
    with torch.no_grad():
        expected = model.eval()(torch.cat([images for images, _ in batches()]))
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(model: MultiExitModel, training: bool) -> None:
    model.train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    collect_logits(model, batches())
    assert model.training is training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_memory_format_changes_nothing_and_autocast_little(model: MultiExitModel) -> None:
    plain, _ = collect_logits(model, batches())
    last, _ = collect_logits(model.to(memory_format=torch.channels_last), batches(), channels_last=True)
    np.testing.assert_allclose(last, plain, atol=1e-5)
    mixed, _ = collect_logits(model, batches(), autocast=torch.bfloat16)
    assert mixed.dtype == np.float32
    np.testing.assert_allclose(mixed, plain, atol=0.1)
