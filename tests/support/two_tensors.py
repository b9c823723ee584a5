"""A toy network whose cuts pass two tensors, one of them unchanged and one that is not always read."""

from __future__ import annotations

import torch
from torch import nn

from edgemate.models import Backbone, Features, MultiExitModel, Tap
from edgemate.models.heads.linear import linear


class Fork(nn.Module):
    """From the image to a fine map and a coarse one, which heads read."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(1, 4, 3, padding=1)
        self.coarse = nn.Conv2d(1, 6, 3, 2, 1)

    def forward(self, features: Features) -> Features:
        image = features["image"]
        return {"fine": self.fine(image).relu(), "features": self.coarse(image).relu()}


class Deepen(nn.Module):
    """The coarse map goes on alone; the fine one passes unchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, features: Features) -> Features:
        return {"fine": features["fine"], "features": self.conv(features["features"]).relu()}


class Join(nn.Module):
    """Both maps into one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, 2, 1)

    def forward(self, features: Features) -> Features:
        return {"features": self.conv(features["fine"]) + features["features"]}


def two_tensor_model(classes: int = 3) -> MultiExitModel:
    """Three exits; images (N, 1, 8, 8)."""
    torch.manual_seed(0)
    tap = Tap(6, 6, 0)
    blocks = {"fork": Fork(), "deepen": Deepen(), "join": Join()}
    backbone = Backbone(blocks, dict.fromkeys(blocks, tap), tuple(blocks))
    return MultiExitModel(backbone, None, lambda found: linear(found, classes)).eval()
