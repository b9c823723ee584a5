"""The network's own classifier as the head of its last exit."""

from __future__ import annotations

from torch import Tensor, nn

from edgemate.models.backbone import Features, OwnHead


class OwnClassifier(nn.Module):
    """What follows the last cut in the network itself.

    Args:
        own: the classifier.

    Attributes:
        width: channels D of the features that it reads.
        pretrained: it has the network's own weights and classes, so that its logits are the network's.
    """

    def __init__(self, own: OwnHead) -> None:
        super().__init__()
        self.classifier = own.module
        self.width = own.width
        self.pretrained = own.trained and not own.replaced

    def forward(self, features: Features) -> tuple[Tensor, Tensor]:
        """Logits (N, C) and the features that they are made of, averaged over their places, (N, D)."""
        read = features["features"]
        pooled = read if read.ndim == 2 else read.mean((2, 3)) if read.ndim == 4 else read.mean(1)
        return self.classifier(features), pooled
