"""Every registered method, built for one small network and one small teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from exit_outputs import C
from teachers import gray_batch, small_model
from torch import Tensor

from edgemate.distillation import Batch, Loss, Method, Progress, Setting
from edgemate.distillation.teachers.networks import RunNetwork
from edgemate.distillation.teachers.teacher import Teacher
from edgemate.models import MultiExitModel
from edgemate.registry import METHODS
from edgemate.runs import write_tensors

# The network's exits differ in width.
OPTIONS: dict[str, dict[str, Any]] = {
    "beed": {"features_weight": 0},
    "byot": {"beta": 0},
    "eed": {"features_weight": 0},
}
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])
EARLY = Progress(epoch=1, epochs=10, fraction=0.1)


def any_method(name: str, folder: Path, **changes: Any) -> tuple[MultiExitModel, Method]:
    """A network that always begins alike, and the method for it, both in training mode.

    Args:
        name: of the method.
        folder: for the route of the teacher.
        changes: of the setting.
    """
    network = RunNetwork(small_model(seed=5))
    route = folder / "epoch_1.safetensors"
    write_tensors(route, network.model.state_dict())
    teacher = Teacher(network, route={1: route}, shape=(1, 8, 8))
    model = small_model()
    setting = Setting(
        model.exits,
        C,
        model.pooled_widths,
        taps=model.taps,
        teacher=teacher,
        unlabeled=name == "uda_kd",
        **changes,
    )
    torch.manual_seed(0)
    method: Method = METHODS.get(name)(setting, **OPTIONS.get(name, {}))
    method.bind(model)
    return model.train(), method.train()


def loss_of(model: MultiExitModel, method: Method, labels: Tensor = LABELS) -> Loss:
    """The loss of six images; two of them have no label where the method also learns from such."""
    images = gray_batch(len(labels)).images
    if method.uses_unlabeled:
        labels = torch.where(torch.arange(len(labels)) < 4, labels, -1)
    torch.manual_seed(1)
    loss: Loss = method(model.outputs(images, method.at_cut), Batch(images, labels), EARLY)
    return loss
