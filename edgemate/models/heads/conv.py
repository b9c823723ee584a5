"""`conv`: EED's head, a stack of strided 3×3 convolutions that ends at the final feature width.

On ResNet-18 at 32×32 it gives 209 / 325 / 440 / 556 M MACs along each exit's path, as in the authors' code
(Exit-Ensemble-Distillation, arXiv 2104.00299).
"""

from __future__ import annotations

import itertools
from typing import Annotated

from pydantic import Field
from torch import nn

from edgemate.models.backbone import Tap
from edgemate.models.heads.head import Head, conv_bn_relu, widths


def conv(tap: Tap, classes: int, *, dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0) -> Head:
    """One strided 3×3 convolution per halving that remains, then pool + linear."""
    steps = [tap.channels, *widths(tap)]
    trunk = nn.Sequential(*(conv_bn_relu(a, b, 3, stride=2) for a, b in itertools.pairwise(steps)))
    return Head(tap, trunk, steps[-1], classes, dropout)
