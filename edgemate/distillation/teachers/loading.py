"""From `distillation.teacher` to the teacher network.

A reference names a run (`runs/x`, whose last exit teaches), a checkpoint in one (`runs/x/checkpoints/last.ckpt`,
or an epoch that `training.keep_every` has kept), a classifier of torchvision with its pretrained weights
(`torchvision:resnet50`), or the same with weights of one's own (`torchvision:resnet50@weights.safetensors`, or a `.pth`
that holds a state dict). Paths are relative to the working directory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from edgemate.core.input_spec import InputSpec
from edgemate.distillation.teachers.named_teacher import NamedTeacher, Normalization
from edgemate.distillation.teachers.reference import TORCHVISION
from edgemate.distillation.teachers.run_teacher import RunTeacher
from edgemate.distillation.teachers.teacher import Teacher
from edgemate.errors import DataError, RecipeError, RunError, UsageError

if TYPE_CHECKING:  # torchvision, which takes as long to import as torch, comes with it
    from edgemate.data import PreparedData


def load_teacher(reference: str, data: PreparedData, source: str) -> Teacher:
    """The teacher that a recipe names, with its weights, on the CPU and in float32.

    It sees the student's images. Where its mean and standard deviation are others, they are put in place of the
    student's, which is exact; images of another size, or other classes, are refused.

    Args:
        reference: `distillation.teacher`.
        data: the student's.
        source: what messages call the student's recipe.

    Raises:
        RecipeError: the teacher is unavailable, or was trained on other images or classes.
    """
    try:
        named = find_teacher(reference)
        named.check(data.spec, data.classes)
        network = named.network(data.classes)
    except (UsageError, RunError, DataError) as error:
        raise RecipeError(source, [f"distillation.teacher: {error}"]) from error
    return Teacher(
        network,
        renormalize=_renormalize(data.spec, named.normalization),
        route=named.route,
        shape=(data.spec.channels, data.spec.height, data.spec.width),
    )


def find_teacher(reference: str) -> NamedTeacher:
    """The teacher that a reference names, not yet loaded. Raises UsageError if it does not exist."""
    if reference.startswith(TORCHVISION):
        from edgemate.distillation.teachers.torchvision_teacher import TorchvisionTeacher

        return TorchvisionTeacher(reference)
    try:
        return RunTeacher(reference)
    except (RunError, RecipeError) as error:
        raise UsageError(" ".join(str(error).split())) from error


def _renormalize(metadata: InputSpec, theirs: Normalization) -> tuple[Tensor, Tensor] | None:
    """Factor and summand per channel, (C, 1, 1), from the student's normalized pixels to the teacher's."""
    if theirs == (metadata.mean, metadata.std):
        return None
    means, stds = zip((metadata.mean, metadata.std), theirs, strict=True)
    ours_mean, their_mean = (torch.tensor(mean, dtype=torch.float64).view(-1, 1, 1) for mean in means)
    ours_std, their_std = (torch.tensor(std, dtype=torch.float64).view(-1, 1, 1) for std in stds)
    return (ours_std / their_std).float(), ((ours_mean - their_mean) / their_std).float()
