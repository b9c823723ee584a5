from __future__ import annotations

import torch
from torch import nn

from edgemate.training.weightless import weightless


def test_a_network_takes_no_memory_and_draws_nothing() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    with weightless():
        layer = nn.Linear(3, 4)
        nn.init.kaiming_normal_(layer.weight)
        nn.init.uniform_(layer.bias)
        assert layer.weight.normal_() is layer.weight
    assert layer.weight.is_meta
    assert layer.weight.shape == (4, 3)
    assert torch.equal(torch.get_rng_state(), state)


def test_tensors_with_memory_are_filled_as_ever() -> None:
    with weightless():
        filled = torch.zeros(100, device="cpu").uniform_(1, 2)
    assert filled.min() >= 1


def test_outside_of_it_networks_have_weights() -> None:
    with weightless():
        pass
    assert nn.Linear(3, 4).weight.abs().sum() > 0
