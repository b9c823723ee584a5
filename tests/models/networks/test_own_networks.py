"""Networks of one's own: how a class or function is called, and what it may return."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgemate.errors import UsageError
from edgemate.models import Backbone, Tap
from edgemate.models.backbone import Block
from edgemate.models.networks.network import Network
from edgemate.models.networks.own_networks import own_network


class Net(nn.Module):
    def __init__(self, in_channels: int = 3, num_classes: int = 10, width: int = 4) -> None:
        super().__init__()
        self.given = (in_channels, num_classes, width)
        self.conv, self.fc = nn.Conv2d(in_channels, width, 3), nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).mean((2, 3)))


def by_position(planes: int, classes: int = 10) -> nn.Module:
    return Net(planes, classes)


def without_arguments() -> nn.Module:
    return Net()


def made(factory: Any, **options: Any) -> Any:
    return own_network("my.mod:thing", factory, 1, 7, options)


@pytest.mark.parametrize(
    ("factory", "options", "given"),
    [
        (Net, {}, (1, 7, 4)),
        (Net, {"width": 8}, (1, 7, 8)),
        (Net, {"num_classes": 1000}, (1, 1000, 4)),
        (by_position, {}, (1, 7, 4)),
        (without_arguments, {}, (3, 10, 4)),
        (lambda channels, n_classes: Net(channels, n_classes), {}, (1, 7, 4)),
        (lambda **rest: Net(**rest), {"width": 6}, (3, 10, 6)),
    ],
)
def test_channels_and_classes_are_passed_where_they_are_asked_for(
    factory: Any, options: dict[str, Any], given: tuple[int, int, int]
) -> None:
    network = made(factory, **options)
    assert isinstance(network, Network)
    assert not network.trained
    assert network.module.given == given


def test_a_backbone_is_returned_as_it_is() -> None:
    whole = Backbone({"a": Block(nn.Conv2d(1, 2, 3))}, {"a": Tap(2, 2, 0)}, ["a"])
    assert made(lambda channels: whole) is whole


def raising(channels: int) -> nn.Module:
    raise RuntimeError("no such\nlayer")


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (raising, "my.mod:thing cannot be built: RuntimeError: no such layer"),
        (lambda channels: torch.zeros(1), "my.mod:thing returned a Tensor"),
        (lambda channels: None, "my.mod:thing returned a NoneType"),
        (3, "my.mod:thing is a int; it should be a class or function"),
        (lambda channels, depth: None, "my.mod:thing cannot be built: TypeError"),
    ],
)
def test_what_does_not_give_a_network_is_one_line(factory: Any, words: str) -> None:
    with pytest.raises(UsageError) as raised:
        made(factory)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_our_own_errors_pass_unchanged() -> None:
    def refusing(channels: int) -> nn.Module:
        raise UsageError("choose another width")

    with pytest.raises(UsageError, match=r"^choose another width$"):
        made(refusing)
