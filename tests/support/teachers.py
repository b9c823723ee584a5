"""Small teachers, for tests of objectives that learn from one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from exit_outputs import SETTING, C, N
from torch import Tensor, nn

from edgemate.distillation import Batch, Setting
from edgemate.distillation.teachers.teacher import Teacher, TeacherNetwork
from edgemate.models import MultiExitModel, Tap
from edgemate.models.cifar_resnet import resnet8
from edgemate.models.heads.linear import linear

SHAPE = (1, 2, 2)


class LinearNetwork(TeacherNetwork):
    """The pixels are the pooled feature; a linear classifier without bias."""

    width = 4

    def __init__(self, classes: int = C, seed: int = 0) -> None:
        super().__init__()
        self.classifier = nn.Linear(self.width, classes, bias=False)
        generator = torch.Generator().manual_seed(seed)
        self.classifier.weight.data = torch.randn(classes, self.width, generator=generator)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        pooled = images.flatten(1)
        return self.classifier(pooled), pooled


class Fixed(TeacherNetwork):
    """Says the same of every image; learnable."""

    width = 1

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits, dtype=torch.float32))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.logits.expand(len(images), -1), images.flatten(1)[:, :1]


def taught_by(network: TeacherNetwork, setting: Setting = SETTING, route: Mapping[int, Path] | None = None) -> Setting:
    """The setting with that teacher."""
    return replace(setting, teacher=Teacher(network, route=route, shape=SHAPE))


def images_of(labels: Tensor, seed: int = 0) -> Batch:
    """A batch with random images to these labels."""
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.randn(len(labels), *SHAPE, generator=generator), labels)


def two_class_setting(exits: int, network: TeacherNetwork) -> Setting:
    """For logits (N, K, 2), see `log3_logits`."""
    return taught_by(network, Setting(exits, 2, (1,) * exits))


def small_model(classes: int = C, cuts: list[str] | None = None, seed: int = 0, width: int = 4) -> MultiExitModel:
    """ResNet-8 on gray images of 8×8."""
    torch.manual_seed(seed)

    def head(tap: Tap) -> nn.Module:
        return linear(tap, classes)

    return MultiExitModel(resnet8(1, width=width), cuts, head)  # type: ignore[arg-type]


def gray_batch(count: int = N, classes: int = C, seed: int = 0) -> Batch:
    """Images of 8×8 for `small_model`."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, 8, 8, generator=generator)
    return Batch(images, torch.randint(classes, (count,), generator=generator))
