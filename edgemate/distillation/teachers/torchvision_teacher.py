"""A classifier of torchvision as a teacher."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from edgemate.core.input_spec import InputSpec
from edgemate.distillation.teachers.named_teacher import NamedTeacher, load_values, size_of
from edgemate.distillation.teachers.networks import TorchvisionNetwork
from edgemate.distillation.teachers.reference import TORCHVISION, weights_file
from edgemate.distillation.teachers.teacher import Teacher, TeacherNetwork
from edgemate.errors import UsageError
from edgemate.registry import closest
from edgemate.runs import read_tensors

# What nearly all pretrained weights expect; a file does not state it.
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class TorchvisionTeacher(NamedTeacher):
    """A classifier of torchvision's registry, with its own best weights or those of a file.

    Weights of a file are taken to expect ImageNet's mean and standard deviation, and images of any size.

    Args:
        reference: `torchvision:NAME` or `torchvision:NAME@FILE`, a `.safetensors` or what `torch.save` wrote of a state
            dict.

    Raises:
        UsageError: there is no such classifier or file.
    """

    def __init__(self, reference: str) -> None:
        self.reference = reference
        self.name = reference.removeprefix(TORCHVISION).partition("@")[0]
        self.file = weights_file(reference)
        self.route = {}
        known = torchvision.models.list_models(module=torchvision.models)
        if self.name not in known:
            raise UsageError(f"{reference}: torchvision has no classifier {self.name!r}; {closest(self.name, known)}")
        self.weights: Any = None if self.file else torchvision.models.get_model_weights(self.name).DEFAULT
        preset = self.weights.transforms() if self.weights else None
        self.size: int | None = preset.crop_size[0] if preset else None
        self.normalization = (tuple(preset.mean), tuple(preset.std)) if preset else _IMAGENET

    def untrained(self) -> Teacher:
        """The classifier with random weights and 2 classes."""
        with torch.device("cpu"):  # some of them cannot be built without memory
            return Teacher(self._network(None, 2))

    def check(self, metadata: InputSpec, classes: tuple[str, ...]) -> None:
        """Images of the same size, and as many classes."""
        if metadata.channels != 3:
            raise UsageError(f"{self.reference} sees 3 channels, the data has {metadata.channels}; name a run instead")
        if self.size is not None and (metadata.height, metadata.width) != (self.size, self.size):
            raise UsageError(
                f"{self.reference} was trained on images of {self.size} × {self.size}, this recipe has "
                f"{size_of(metadata)}; set data.image_size: {self.size}"
            )
        count = len(self.weights.meta["categories"]) if self.weights else len(classes)
        if count != len(classes):
            raise UsageError(
                f"{self.reference} has {count} classes, the data has {len(classes)}; train it on this "
                f"data (model.options.pretrained starts from such weights) and name that run, or {self.reference}@FILE"
            )

    def network(self, classes: tuple[str, ...]) -> TeacherNetwork:
        """With the weights of the registry, or of the file."""
        if self.file is None:
            try:
                return self._network(self.weights, None)
            except (OSError, RuntimeError) as error:
                reason = " ".join(str(error).split())
                raise UsageError(
                    f"{self.reference}: its weights are unavailable ({reason}); name a file, {self.reference}@FILE"
                ) from error
        network = self._network(None, len(classes))
        try:
            network.load(_state_dict(self.file))
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise UsageError(f"{self.file}: not weights of {self.name} for {len(classes)} classes: {reason}") from error
        return network

    def _network(self, weights: Any, classes: int | None) -> TorchvisionNetwork:
        options = {} if classes is None else {"num_classes": classes}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # how weights start, which are overwritten
            net: nn.Module = torchvision.models.get_model(self.name, weights=weights, **options)
        try:
            return TorchvisionNetwork(net)
        except UsageError as error:
            raise UsageError(f"{self.reference}: {error}") from error


def _state_dict(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return read_tensors(path)
    state = load_values(path)
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise UsageError(f"{path}: should be a state dict, names with a tensor each")
    return state
