from __future__ import annotations

import pytest
import rank_tasks
import torch
from ranks import Ranks
from torch import nn

from edgemate.distributed.batch_norm import SynchronizedBatchNorm, synchronize

CPU = torch.device("cpu")


@pytest.mark.parametrize("shape", [(8, 3), (7, 3, 4, 5)])
@pytest.mark.parametrize(("affine", "momentum"), [(True, 0.1), (False, None)])
@pytest.mark.parametrize("sizes", ["even", "uneven"])
def test_two_processes_normalize_as_one(
    two: Ranks, shape: tuple[int, ...], affine: bool, momentum: float | None, sizes: str
) -> None:
    first = shape[0] // 2 if sizes == "even" else 2
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3 + 50
    # Compared with torch's own, in one process.
    whole = rank_tasks.batch_norm_step(0, 1, images, affine, momentum, None)
    parts = two.call(rank_tasks.batch_norm_step, images, affine, momentum, [first, shape[0] - first])
    for name, expected in whole.items():
        along = name in ("output", "gradient", "evaluated")
        found = torch.cat([part[name] for part in parts]) if along else parts[0][name]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")
        if not along:
            assert torch.equal(parts[0][name], parts[1][name]), name


def test_names_parameters_and_mode_stay() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.BatchNorm1d(4), nn.ReLU()), nn.BatchNorm1d(4).eval())
    before = dict(network.named_parameters())
    names = list(network.state_dict())
    assert synchronize(network, CPU) == 2
    assert synchronize(network, CPU) == 0
    assert list(network.state_dict()) == names
    assert all(before[name] is parameter for name, parameter in network.named_parameters())
    inner = network[1][0]
    assert isinstance(inner, SynchronizedBatchNorm)
    assert inner.training
    assert not network[2].training
