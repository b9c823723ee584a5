"""`linear`: global average and a linear classifier. The cheapest head; exits keep their own feature width."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from edgemate.models.backbone import Tap
from edgemate.models.heads.head import Head


def linear(tap: Tap, classes: int, *, dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0) -> Head:
    """Global average pooling and a linear layer on the map's own channels."""
    return Head(tap, nn.Identity(), tap.channels, classes, dropout)
