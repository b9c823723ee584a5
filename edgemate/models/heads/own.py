"""The network's own classifier as the head of its last exit."""

from __future__ import annotations

from torch import Tensor, nn

from edgemate.models.backbone import Features, Layout, OwnHead

_PLACES: dict[Layout, tuple[int, ...]] = {"map": (2, 3), "channels_last": (1, 2), "tokens": (1,), "vector": ()}


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
        self.layout = own.layout
        self.pretrained = own.trained and not own.replaced

    def forward(self, features: Features) -> tuple[Tensor, Tensor]:
        """Logits (N, C) and the features that they are made of, averaged over their places, (N, D)."""
        read = features["features"]
        places = _PLACES[self.layout]
        return self.classifier(features), read.mean(places) if places else read
