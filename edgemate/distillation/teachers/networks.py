"""The two kinds of teacher networks: the network of a run, and a torchvision classifier."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from edgemate.distillation.teachers.teacher import TeacherNetwork
from edgemate.errors import UsageError
from edgemate.models import Features, MultiExitModel


class RunNetwork(TeacherNetwork):
    """The network of a run, with the logits of its last exit; earlier heads run only if the mixing needs them.

    Args:
        model: the multi-exit model.

    Attributes:
        blocks: the backbone's blocks in order, from the image to the map that the last head reads; each maps
            `Features` to `Features`.
    """

    def __init__(self, model: MultiExitModel) -> None:
        super().__init__()
        self.model = model
        self.width = model.pooled_widths[-1]
        self.blocks = tuple(block for stage in model.stages for block in stage.blocks)  # type: ignore[union-attr]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, C) and pooled feature (N, D) of the last exit."""
        if self.model.mixing is not None:
            outputs = self.model.outputs(images)
            return self.model.ensemble_logits(outputs.logits)[:, -1], outputs.pooled[-1]
        features: Features = {"image": images}
        for block in self.blocks:
            features = block(features)
        logits, pooled = self.model.heads[-1](features)
        return logits, pooled

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take over the weights of a run."""
        self.model.set_mixing(weights.get("mixing"))
        self.model.load_state_dict(dict(weights))

    def classify(self, features: Features) -> Tensor:
        """Logits (N, C) of the last head by itself."""
        logits: Tensor = self.model.heads[-1](features)[0]
        return logits


class TorchvisionNetwork(TeacherNetwork):
    """A classifier of torchvision; its pooled feature is what the last linear layer reads.

    Args:
        net: from torchvision's registry of models.

    Raises:
        UsageError: it has no linear layer.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        layers = {name: module for name, module in net.named_modules() if isinstance(module, nn.Linear)}
        if not layers:
            raise UsageError("it has no linear layer, whose input would be the pooled feature; use another network")
        self._classifier = list(layers)[-1]
        self.width = layers[self._classifier].in_features

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, C) and pooled feature (N, D)."""
        read: list[Tensor] = []
        classifier = self.net.get_submodule(self._classifier)
        with classifier.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0])):
            logits: Tensor = self.net(images)
        return logits, read[-1]

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take over weights by the names that torchvision gives them."""
        self.net.load_state_dict(dict(weights))
