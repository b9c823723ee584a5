"""MSDNet under every method that needs no teacher: a training step, or one line that says what does not fit."""

from __future__ import annotations

import pytest
import torch

from edgemate.config import Exits, Model, parse_recipe
from edgemate.distillation import Batch, Progress
from edgemate.distillation.building import build_method, setting_of
from edgemate.errors import UsageError
from edgemate.models import build_model
from edgemate.registry import METHODS
from recipes import SMALL

NEED_A_TEACHER = {name for name in METHODS.names() if METHODS.get(name).needs_teacher}  # type: ignore[attr-defined]
COMPARE_FEATURES = {"beed", "byot", "eed"}
NAMES = sorted(set(METHODS.names()) - NEED_A_TEACHER)


def take_step(method_name: str, head: str) -> None:
    """One step of SGD; every parameter of the network gets a finite gradient."""
    torch.manual_seed(0)
    options = {"blocks": 3, "base": 2, "step": 1, "channels": 4, "growth": 2}
    model = build_model(Model(backbone="msdnet", options=options), Exits(head=head), 1, 4).train()
    methods = ["joint_ce", method_name] if method_name == "gradient_equilibrium" else [method_name]
    recipe = parse_recipe({**SMALL, "distillation": {"methods": methods}}, "small.yaml")
    method = build_method(recipe.distillation, setting_of(recipe, model, 4)).train()
    method.bind(model)
    images, labels = torch.randn(6, 1, 16, 16), torch.arange(6) % 4
    optimizer = torch.optim.SGD([*model.parameters(), *method.parameters()], lr=0.01)
    outputs = model.outputs(images, method.at_cut)
    loss = method(outputs, Batch(images, labels), Progress(epoch=1, epochs=10, fraction=0.1)).total
    assert loss.isfinite()
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert not [name for name, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()]
    optimizer.step()


@pytest.mark.parametrize("name", NAMES)
def test_a_step_with_its_own_classifier(name: str) -> None:
    take_step(name, "msdnet")


@pytest.mark.parametrize("name", sorted(set(NAMES) - COMPARE_FEATURES))
def test_a_step_with_widths_that_differ(name: str) -> None:
    take_step(name, "linear")


@pytest.mark.parametrize("name", sorted(COMPARE_FEATURES))
def test_feature_terms_refuse_widths_that_differ_in_one_line(name: str) -> None:
    with pytest.raises(
        UsageError, match=f"^{name} compares the exits' features, but their widths are .*msdnet"
    ) as error:
        take_step(name, "linear")
    assert "\n" not in str(error.value)
