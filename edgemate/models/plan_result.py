"""What `edgemate plan` finds: the cut points of a network and what an exit would cost at each."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from edgemate.models.backbone import Layout

BYTES_PER_VALUE = 4
"""Float32, whatever the network computes in."""


@dataclass(frozen=True, kw_only=True)
class PlannedCut:
    """A cut point, for one image.

    Attributes:
        name: of the cut point, for `exits.at`.
        aliases: further names of it.
        macs: MACs from the image to here, without heads.
        macs_fraction: of the MACs of the whole network.
        parameters: of the backbone up to here.
        layout: of the features that a head reads.
        shape: of these features without the batch.
        tensors: how many tensors pass the cut.
        bytes: of all these tensors as float32.
        head_macs: MACs that a head adds here; None where none can stand.
        head_problem: why none can stand here.
        own_classifier: the head here is the network's own classifier.
        exit: k, 1-based, of the exit that is placed here; None if there is none.
    """

    name: str
    aliases: tuple[str, ...]
    macs: int
    macs_fraction: float
    parameters: int
    layout: Layout
    shape: tuple[int, ...]
    tensors: int
    bytes: int
    head_macs: int | None
    head_problem: str | None = None
    own_classifier: bool = False
    exit: int | None = None

    @property
    def side(self) -> tuple[int, int] | None:
        """Height and width of the features, of tokens as the grid of patches that they were; None for pooled ones."""
        if self.layout == "map":
            return self.shape[1], self.shape[2]
        if self.layout == "channels_last":
            return self.shape[0], self.shape[1]
        side = math.isqrt(self.shape[0])
        return (side, side) if self.layout == "tokens" else None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The cut points of a network, in order, and the exits that would be placed.

    Attributes:
        network: its name.
        recipe: the recipe that names it; None for a network by itself.
        image: (C, H, W) that everything is counted for.
        classes: C of the heads.
        head: registered name of the heads.
        own_classifier: the network comes with a classifier; it is part of `macs` and `parameters`. Otherwise a head at
            the last cut is.
        macs: MACs of the whole network with its last classifier and without further heads.
        parameters: of the same.
        cuts: every cut point.
        warnings: what to look at before training.
    """

    network: str
    recipe: str | None = None
    image: tuple[int, int, int]
    classes: int
    head: str
    own_classifier: bool
    macs: int
    parameters: int
    cuts: tuple[PlannedCut, ...]
    warnings: tuple[str, ...] = ()

    @property
    def exits(self) -> tuple[PlannedCut, ...]:
        """The cut points that get an exit, in order."""
        return tuple(cut for cut in self.cuts if cut.exit is not None)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values, with the names of the `exits`."""
        return {**asdict(self), "exits": [cut.name for cut in self.exits]}
