"""The optimizers' step in one kernel, which a GPU takes, on torch's kernels for the CPU."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgemate.errors import RecipeError
from edgemate.training import optimizers
from recipes import small_recipe


def steps(factory, fused, monkeypatch, *, late=False):
    """Two parameters after three steps; with `late` the second has no gradient in the first step."""
    monkeypatch.setattr(optimizers, "_on_gpu", lambda parameter: fused)
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(3, 2, 3, 3))]
    parameters[1].data = parameters[1].data.to(memory_format=torch.channels_last)
    optimizer = factory([{"params": parameters, "weight_decay": 0.01}], 0.1)
    assert optimizer.param_groups[0]["fused"] is (True if fused else None)
    for step in range(3):
        optimizer.zero_grad()
        for parameter in parameters[: 1 if late and step == 0 else 2]:
            parameter.square().sum().backward()
        optimizer.step()
    return parameters, optimizer


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("factory", [optimizers.sgd, optimizers.adamw])
def test_one_kernel_takes_the_same_steps(factory, late, monkeypatch):
    ours, _ = steps(factory, True, monkeypatch, late=late)
    theirs, _ = steps(factory, False, monkeypatch, late=late)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("factory", [optimizers.sgd, optimizers.adamw])
def test_lightning_may_still_clip_and_scale_gradients(factory, monkeypatch):
    _, optimizer = steps(factory, True, monkeypatch)
    optimizer.load_state_dict(optimizer.state_dict())
    assert not getattr(optimizer, "_step_supports_amp_scaling", False)


def test_on_a_cpu_torch_chooses():
    optimizer = optimizers.sgd([{"params": [nn.Parameter(torch.ones(2))]}], 0.1)
    assert optimizer.param_groups[0]["fused"] is None
    assert not optimizer.state


def test_an_epsilon_that_torch_refuses_is_a_problem_of_the_recipe():
    with pytest.raises(RecipeError, match=r"optimization\.optimizer_options\.eps: .*greater than 0, not -1"):
        small_recipe("optimization.optimizer=adamw", "optimization.optimizer_options.eps=-1")
