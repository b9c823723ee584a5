"""A frozen backbone: the same outputs, from images and from the features at the cuts."""

from __future__ import annotations

import pytest
import torch

from edgemate.config import Exits, Model
from edgemate.distillation.gradients import rescale_gradient
from edgemate.models import Features, MultiExitModel, Prefix, Segment, build_model

BACKBONES = ["resnet8", "resnet18", "mobilenet_v2", "mobilenet_v3_small", "vgg11_bn", "wrn_16_4"]


def built(backbone: str) -> MultiExitModel:
    torch.manual_seed(0)
    return build_model(Model(backbone=backbone), Exits(head="separable"), 3, 5)


def images() -> torch.Tensor:
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def at_cuts(model: MultiExitModel) -> list[torch.Tensor]:
    with torch.no_grad():
        return [tensor.clone() for tensor in model.features_at_cuts(images())]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_outputs_from_the_features_at_the_cuts_are_those_from_the_images(backbone: str) -> None:
    model = built(backbone)
    model.freeze_backbone()
    for mode in (model.eval(), model.train()):
        stored = at_cuts(model)
        ours, theirs = mode.outputs_from([one.clone() for one in stored]), mode.outputs(images())
        assert torch.equal(ours.logits, theirs.logits)
        for k in range(model.exits):
            assert torch.equal(ours.pooled[k], theirs.pooled[k])
            assert ours.maps[k].shape == stored[k].shape


@pytest.mark.parametrize("backbone", BACKBONES)
def test_freezing_changes_no_output_and_no_part_that_is_exported(backbone: str) -> None:
    free, frozen = built(backbone).eval(), built(backbone)
    frozen.freeze_backbone()
    frozen.eval()
    assert list(free.state_dict()) == list(frozen.state_dict())
    with torch.no_grad():
        assert torch.equal(free(images()), frozen(images()))
        features: Features = {"image": images()}
        for k in range(1, free.exits + 1):
            logits = Prefix(frozen, k)(images())
            assert torch.equal(logits, Prefix(free, k)(images()))
            features, chained = Segment(frozen, k)(features)
            assert torch.equal(logits, chained)


def test_only_heads_get_gradients_whatever_a_method_does_at_the_cuts() -> None:
    model = built("resnet8")
    model.freeze_backbone()
    seen: list[int] = []

    def at_cut(exit: int, features: Features) -> tuple[Features, Features]:
        seen.append(exit)
        read = {name: rescale_gradient(tensor, 0.5) for name, tensor in features.items()}
        return read, read

    model.train().outputs_from(at_cuts(model), at_cut).logits.sum().backward()
    assert seen == [1, 2, 3]
    assert all(one.grad is not None for one in model.heads.parameters())
    assert all(one.grad is None for one in model.stages.parameters())
