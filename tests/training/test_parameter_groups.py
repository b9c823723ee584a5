"""Learning rates of the backbone's stages."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgemate.config import Optimization
from edgemate.distillation.building import build_method, setting_of
from edgemate.models import MultiExitModel, build_model
from edgemate.training.optimizers import make_optimizer
from edgemate.training.parameter_groups import Group, parameter_groups
from edgemate.training.task import MultiExitTask
from recipes import small_recipe


def model_of(*overrides: str) -> MultiExitModel:
    recipe = small_recipe(*overrides)
    torch.manual_seed(0)
    return build_model(recipe.model, recipe.exits, 1, 10)


def groups_of(
    model: MultiExitModel,
    own: list[nn.Parameter],
    settings: Optimization,
    own_rates: dict[nn.Parameter, float] | None = None,
) -> list[Group]:
    return parameter_groups(
        model,
        own,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        backbone_lr_scale=settings.backbone_lr_scale,
        layer_decay=settings.layer_decay,
        own_rates=own_rates or {},
    )


MODEL = model_of()
OWN = [nn.Parameter(torch.ones(3))]


@given(
    scale=st.floats(0.01, 10, exclude_min=True),
    decay=st.floats(0.05, 1),
)
def test_every_parameter_is_in_one_group_at_its_rate(scale: float, decay: float) -> None:
    settings = small_recipe(
        f"optimization.backbone_lr_scale={scale!r}", f"optimization.layer_decay={decay!r}"
    ).optimization
    groups = groups_of(MODEL, OWN, settings)
    optimizer = torch.optim.SGD(groups, lr=settings.lr)
    rate = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert id(parameter) not in rate
            rate[id(parameter)] = group["lr"]
    assert optimizer.param_groups[0]["lr"] == settings.lr, "what the logs show"
    assert len(rate) == len(list(MODEL.parameters())) + 1
    for parameter in (*MODEL.heads.parameters(), *OWN):
        assert rate[id(parameter)] == settings.lr
    for k, stage in enumerate(MODEL.stages, 1):
        for parameter in stage.parameters():
            assert rate[id(parameter)] == pytest.approx(settings.lr * scale * decay ** (len(MODEL.stages) - k))


def test_weight_decay_is_the_networks_and_not_the_methods() -> None:
    for overrides in ((), ("optimization.layer_decay=0.5",)):
        *network, own = groups_of(MODEL, OWN, small_recipe(*overrides).optimization)
        assert all(group["weight_decay"] == 5e-4 for group in network)
        assert own == {"params": OWN, "weight_decay": 0.0}


def test_a_method_may_have_rates_of_its_own() -> None:
    slow, frozen = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    *_, shared, own = groups_of(MODEL, [*OWN, slow], small_recipe().optimization, {slow: 1e-3, frozen: 0.5})
    assert shared == {"params": OWN, "weight_decay": 0.0}
    assert own == {"params": [slow], "weight_decay": 0.0, "lr": 1e-3}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("scale", ["labels", "published"])
def test_the_teachers_of_mate_learn_at_their_rate_with_any_optimizer(optimizer: str, scale: str) -> None:
    rates = {}
    for rate in (0.1, 0.3):
        recipe = small_recipe(
            "distillation.method=mate",
            f"distillation.options.teacher_lr={rate}",
            f"distillation.scale={scale}",
            f"optimization.optimizer={optimizer}",
            "optimization.optimizer_options={}",
            "optimization.lr=1e-4",
        )
        model = build_model(recipe.model, recipe.exits, 1, 10)
        method = build_method(recipe.distillation, setting_of(recipe, model, 10))
        (scores,) = (one for name, one in method.named_parameters() if name.rpartition(".")[2] == "scores")
        assert method.learning_rates() == {scores: rate}
        before = scores.detach().clone()
        groups = groups_of(model, [scores], recipe.optimization, method.learning_rates())
        torch.manual_seed(1)
        scores.grad = torch.randn(scores.shape)
        make_optimizer(recipe.optimization, groups).step()
        rates[rate] = before - scores.detach()
    torch.testing.assert_close(rates[0.3], 3 * rates[0.1])


def test_what_is_frozen_is_in_no_group() -> None:
    model = model_of()
    model.freeze_backbone()
    groups = groups_of(model, [], small_recipe().optimization)
    (group,) = groups
    assert [id(one) for one in group["params"]] == [id(one) for one in model.heads.parameters()]
    model.heads[-1].pretrained = True
    model.freeze_backbone()
    (group,) = groups_of(model, [], small_recipe().optimization)
    assert {id(one) for one in group["params"]} == {id(one) for one in model.heads[:-1].parameters()}


def test_training_steps_the_stages_at_their_rates() -> None:
    recipe = small_recipe("optimization.layer_decay=0.5", "optimization.schedule=constant")
    model = model_of()
    method = build_method(recipe.distillation, setting_of(recipe, model, 10))
    made = MultiExitTask(model, method, recipe.optimization, 4).configure_optimizers()
    rates = [group["lr"] for group in made["optimizer"].param_groups]  # type: ignore[index]
    assert rates[:4] == pytest.approx([0.1, 0.025, 0.05, 0.1])
