"""`linear`: global pooling and a linear classifier. The cheapest head; exits keep their own feature width."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from edgemate.errors import UsageError
from edgemate.models.backbone import Tap
from edgemate.models.heads.head import Head, class_tokens


def linear(
    tap: Tap,
    classes: int,
    *,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    pool: Literal["mean", "class_token"] = "mean",
) -> Head:
    """Global pooling and a linear layer on the features' own channels.

    Args:
        tap: which features it reads.
        classes: C.
        dropout: fraction of the pooled feature that training drops.
        pool: `mean` over all places, or `class_token` for tokens that have one. The network's own pooled features, at
            its end, are read as they are.

    Raises:
        UsageError: `class_token` where the features have none.
    """
    if pool == "class_token" and tap.layout != "vector" and not class_tokens(tap):
        raise UsageError(f"the features at this cut have no class token ({tap.layout}); use pool: mean")
    return Head(tap, nn.Identity(), tap.channels, classes, dropout, pool)
