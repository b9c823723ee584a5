import pytest
import torch
from exit_outputs import START, batch_of, make_outputs
from torch import Tensor

from edgemate.config import Exits, Model
from edgemate.distillation import Setting
from edgemate.distillation.methods.gradient_equilibrium import GradientEquilibrium
from edgemate.models import build_model


def scaled(values: tuple[float, ...]) -> list[Tensor]:
    return [torch.tensor(value, requires_grad=True) for value in values]


def gradients_of(tensors: list[Tensor]) -> list[float]:
    return [tensor.grad.item() for tensor in tensors if tensor.grad is not None]


def test_a_stage_gets_the_mean_of_the_gradients_of_the_exits_behind_it() -> None:
    """Stages times 2, 3, 5, heads times 1, 10, 100, loss the sum of what the heads say of 1.

    Exit by exit the gradient behind stage 1 is 1, 3 · 10, 3 · 5 · 100; behind stage 2 it is 10, 5 · 100; then 100.
    """
    method = GradientEquilibrium(Setting(3, 2, (1, 1, 1)))
    stages, heads = scaled((2.0, 3.0, 5.0)), scaled((1.0, 10.0, 100.0))
    features = {"features": torch.tensor(1.0)}
    logits, behind = [], []
    for exit, (stage, head) in enumerate(zip(stages, heads, strict=True), 1):
        features = {"features": stage * features["features"]}
        features["features"].retain_grad()
        behind.append(features["features"])
        read, features = method.at_cut(exit, features)
        logits.append(head * read["features"])
    assert [value.item() for value in logits] == [2, 60, 3000]
    torch.stack(logits).sum().backward()
    assert gradients_of(behind) == pytest.approx([1531 / 3, 510 / 2, 100])
    assert gradients_of(stages) == pytest.approx([1531 / 3, 2 * 255, 6 * 100])
    assert gradients_of(heads) == [2, 6, 30]


def test_values_stay_as_they_are_and_the_heads_learn_as_before() -> None:
    torch.manual_seed(0)
    model = build_model(Model(backbone="resnet8", options={"width": 4}), Exits(), 1, 4).eval()
    method = GradientEquilibrium(Setting(3, 4, model.pooled_widths))
    images = torch.randn(2, 1, 8, 8)
    gradients = []
    for at_cut in (None, method.at_cut):
        model.zero_grad()
        logits = model.outputs(images, at_cut).logits
        logits.square().sum().backward()
        gradients.append([logits, *(parameter.grad.clone() for parameter in model.heads.parameters())])  # type: ignore[union-attr]
    for plain, rescaled in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, rescaled)


def test_it_adds_nothing_to_the_loss() -> None:
    outputs, labels = make_outputs(requires_grad=True)
    loss = GradientEquilibrium(Setting(3, 4, (5,) * 3))(outputs, batch_of(labels), START)
    assert loss.total == 0
    assert not loss.terms
