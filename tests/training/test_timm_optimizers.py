"""Optimizers of timm by name."""

from __future__ import annotations

import io
import warnings

import pytest
import torch
from rich.console import Console
from torch import nn

from edgemate.config.options import part_options
from edgemate.errors import RecipeError, UsageError
from edgemate.registry import OPTIMIZERS
from edgemate.runs import read_tensors
from edgemate.training import train
from edgemate.training.callbacks import SeedEveryEpoch
from edgemate.training.checks import check_recipe
from edgemate.training.optimizers import make_optimizer
from recipes import small_recipe

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import timm.optim

# The rest need a GPU with other libraries, compile for minutes (kron), or need second derivatives.
USABLE = [name for name in timm.optim.list_optimizers() if not name.startswith(("adahessian", "bnb", "fused", "kron"))]


def steps(optimizer, parameters, number):
    for _ in range(number):
        optimizer.zero_grad()
        sum((one**2).sum() for one in parameters).backward()
        optimizer.step()


def made(name, rate=0.01):
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.randn(3, 2, 1, 1)), nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(3, 3))]
    groups = [
        {"params": parameters[:1], "weight_decay": 0.2, "lr": rate},
        {"params": parameters[1:], "weight_decay": 0.0},
    ]
    return parameters, make_optimizer(small_recipe(f"optimization.optimizer=timm/{name}").optimization, groups)


@pytest.mark.parametrize("name", USABLE)
def test_groups_keep_their_rate_and_weight_decay_and_the_state_resumes_exactly(name: str) -> None:
    parameters, optimizer = made(name)
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.1]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.2, 0.0]
    steps(optimizer, parameters, 2)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    others, other = made(name)
    for one, theirs in zip(others, parameters, strict=True):
        one.data.copy_(theirs.data)
    other.load_state_dict(torch.load(file, weights_only=True))
    steps(optimizer, parameters, 2)
    steps(other, others, 2)
    for one, theirs in zip(others, parameters, strict=True):
        assert torch.equal(one, theirs)


def test_a_groups_rate_of_0_leaves_it_as_it_is() -> None:
    parameters, optimizer = made("adan", rate=0.0)
    before = [one.detach().clone() for one in parameters]
    steps(optimizer, parameters, 1)
    assert [torch.equal(one, old) for one, old in zip(parameters, before, strict=True)] == [True, False, False]


def test_options_are_passed_on() -> None:
    recipe = small_recipe("optimization.optimizer=timm/adamw", "optimization.optimizer_options={betas: [0.8, 0.9]}")
    optimizer = make_optimizer(recipe.optimization, [{"params": [nn.Parameter(torch.ones(2))], "weight_decay": 0.0}])
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.9)


def test_any_option_is_left_to_the_library() -> None:
    assert part_options(OPTIMIZERS, "timm/adan").model_validate({"no_prox": True}).model_dump() == {"no_prox": True}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("timm/adamx", "{}", r"timm has no optimizer 'adamx'; did you mean 'timm/adam\w*' or 'timm/.*\?$"),
        ("timm/adamw", "{beta: 0.9}", r"timm/adamw has no option 'beta'; did you mean 'betas'\?$"),
        ("timm/adamw", "{betas: [2, 3]}", r"timm/adamw cannot be built with lr=0\.1, betas=\[2, 3\]: Invalid beta"),
        ("timm/adamw", "{weight_decay: 0.1}", r"timm/adamw has no option 'weight_decay'"),
        ("timm/adahessian", "{}", "timm/adahessian needs second derivatives"),
    ],
)
def test_what_timm_does_not_have_is_one_line(name: str, options: str, message: str) -> None:
    recipe = small_recipe(f"optimization.optimizer={name}", f"optimization.optimizer_options={options}")
    with pytest.raises(RecipeError, match=message) as caught:
        check_recipe(recipe, "small.yaml")
    assert caught.value.problems[0].startswith("optimization.optimizer: ")
    assert "\n" not in caught.value.problems[0]


def test_a_registered_name_has_no_prefix() -> None:
    with pytest.raises(UsageError, match="unknown optimizer 'madgrad'; known: adamw, sgd, timm/NAME"):
        OPTIMIZERS.place("madgrad")


def test_a_killed_training_resumes_to_the_same_weights(tmp_path, monkeypatch) -> None:
    recipe = small_recipe(
        "optimization.optimizer=timm/nadamw",
        "optimization.lr=0.01",
        "optimization.epochs=2",
        "optimization.layer_decay=0.5",
        "data.train_limit=128",
    )
    quiet = Console(file=io.StringIO())
    whole = train(recipe, tmp_path / "whole", console=quiet)
    seed = SeedEveryEpoch.on_train_epoch_start

    def kill(self, trainer, module):
        seed(self, trainer, module)
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SeedEveryEpoch, "on_train_epoch_start", kill)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "killed", console=quiet)
    resumed = train(recipe, tmp_path / "killed", resume=True, console=quiet)
    theirs = read_tensors(whole.model_path)
    for name, value in read_tensors(resumed.model_path).items():
        assert torch.equal(value, theirs[name]), name
