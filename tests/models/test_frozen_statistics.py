"""Frozen statistics: the backbone normalizes in training as in evaluation, and still trains."""

from __future__ import annotations

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from edgemate.config import Exits, Model
from edgemate.models import MultiExitModel, build_model


def built(backbone: str = "timm/tf_efficientnet_lite0") -> MultiExitModel:
    torch.manual_seed(0)
    return build_model(Model(backbone=backbone), Exits(head="separable", at="auto", count=2), 3, 5, (64, 64))


def images(seed: int) -> torch.Tensor:
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 3 + 1


def statistics(model: MultiExitModel) -> dict[str, torch.Tensor]:
    return {name: one.clone() for name, one in model.named_buffers() if "running" in name}


@pytest.mark.parametrize("backbone", ["timm/tf_efficientnet_lite0", "resnet8"])
def test_training_leaves_the_backbones_statistics_and_updates_those_of_new_heads(backbone: str) -> None:
    model = built(backbone)
    model.freeze_statistics()
    before = statistics(model)
    model.train()
    model(images(1)).sum().backward()
    after = statistics(model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("heads.") for name in changed)
    assert all(one.grad is not None for one in model.parameters())


def test_features_in_training_are_those_of_evaluation() -> None:
    model = built()
    model.freeze_statistics()
    free = built()
    with torch.no_grad():
        expected = [one.clone() for one in model.eval().features_at_cuts(images(1))]
        trained = [one.clone() for one in model.train().features_at_cuts(images(1))]
        moved = [one.clone() for one in free.train().features_at_cuts(images(1))]
    assert all(torch.equal(one, other) for one, other in zip(trained, expected, strict=True))
    assert not torch.allclose(moved[-1], expected[-1])


def test_it_changes_no_parameter_and_no_name() -> None:
    model, free = built(), built()
    model.freeze_statistics()
    assert list(model.state_dict()) == list(free.state_dict())
    assert all(one.requires_grad for one in model.parameters())
    assert {type(one) for one in free.fixed_norms()} == set()
    assert len(model.fixed_norms()) == sum(isinstance(one, _BatchNorm) for one in model.stages.modules())
