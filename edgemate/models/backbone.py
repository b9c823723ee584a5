"""What every backbone is: named blocks in a row, each of which may be the place of a cut.

What passes a cut is a mapping of named tensors, not one tensor: multi-scale networks pass several feature maps.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn

from edgemate.errors import UsageError
from edgemate.models.chains import Chain
from edgemate.registry import closest

Features = dict[str, Tensor]
"""Named tensors that pass a cut. Heads read `features`, the only one that a plain backbone has."""

Layout = Literal["map", "channels_last", "tokens", "vector"]
"""How `features` are laid out: (N, D, H, W), (N, H, W, D), (N, L, D), or (N, D)."""


@dataclass(frozen=True)
class Tap:
    """The features at a cut that a head reads, `features`.

    Attributes:
        channels: channels D here.
        final_channels: channels of the last feature map of the backbone.
        reductions: how many times the height and width are still halved between here and there.
        layout: how the features are laid out.
        shape: of the features without the batch, where it is known.
        grid: height and width of the grid of patches that tokens are, where it is known. Tokens beyond it come first
            and are class tokens.
        later: the blocks after the cut that are chains of convolutions and change the map's shape, where these are
            known.
    """

    channels: int
    final_channels: int
    reductions: int
    layout: Layout = "map"
    shape: tuple[int, ...] | None = None
    grid: tuple[int, int] | None = None
    later: tuple[Chain, ...] = ()


def with_layout(tap: Tap, layout: Layout) -> Tap:
    """The same features read in a layout that their shape does not tell. Raises UsageError where they cannot be."""
    dimensions = {"map": 3, "channels_last": 3, "tokens": 2, "vector": 1}
    if tap.layout == "vector" or tap.layout == layout:
        return tap
    if tap.shape is None:
        raise UsageError(
            f"exits.layout is {layout}, but the features of this backbone are a {tap.layout}; leave it out"
        )
    if len(tap.shape) != dimensions[layout]:
        raise UsageError(
            f"exits.layout is {layout}, but features of shape (N, {', '.join(map(str, tap.shape))}) are not"
        )
    return replace(tap, layout=layout, channels=tap.shape[0] if layout == "map" else tap.shape[-1])


@dataclass
class OwnHead:
    """A network's own classifier, which follows the last cut.

    Attributes:
        module: from the features at the last cut to logits (N, classes).
        layers: paths of the layers in the network that give the logits.
        classes: number of logits.
        width: channels of the features that it reads.
        layout: of these features.
        replaced: the layers were replaced for another number of classes, so they are untrained.
        trained: the weights were loaded.
    """

    module: nn.Module
    layers: Sequence[str]
    classes: int
    width: int
    layout: Layout = "vector"
    replaced: bool = False
    trained: bool = False


class Block(nn.Module):
    """A plain module between two possible cuts: one tensor in, one tensor out."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, features: Features) -> Features:
        """The only tensor of `features`, taken through the module, as `features`."""
        (tensor,) = features.values()
        return {"features": self.module(tensor)}


class Backbone(nn.Module):
    """A network without its classifier, as named blocks in order.

    Args:
        blocks: name → block, in order; each takes and gives `Features`. The first gets `{"image": (N, C, H, W)}`.
        taps: name → what a head finds after that block.
        default_cuts: names of the blocks after which this family usually has its exits, the last block last. None:
            it has no usual ones, and they are placed by MACs.
        aliases: further names for blocks (`layer1` for the last block of that layer).
        own_head: the network's own classifier, if it is kept.
    """

    def __init__(
        self,
        blocks: Mapping[str, nn.Module],
        taps: Mapping[str, Tap],
        default_cuts: Sequence[str] | None,
        aliases: Mapping[str, str] | None = None,
        own_head: OwnHead | None = None,
    ) -> None:
        super().__init__()
        self.block_names = tuple(blocks)
        self.blocks = nn.ModuleList(blocks.values())
        self.taps = dict(taps)
        self.default_cuts = None if default_cuts is None else tuple(default_cuts)
        self.aliases = dict(aliases or {})
        self.own_head = own_head

    @property
    def end(self) -> str:
        """Name of the last block, where the last exit is."""
        return self.block_names[-1]

    @property
    def end_name(self) -> str:
        """The name that its usual exits give to the last block."""
        return self.default_cuts[-1] if self.default_cuts else self.end

    def block_index(self, cut: str) -> int:
        """Position of the block that a cut point names. Raises UsageError for a name that is none of ours."""
        name = self.aliases.get(cut, cut)
        if name not in self.block_names:
            known = [*self.aliases, *self.block_names]
            raise UsageError(f"unknown cut point {cut!r}; {closest(cut, known)}")
        return self.block_names.index(name)

    def exit_blocks(self, cuts: Sequence[str], ends_early: bool = False) -> list[int]:
        """Positions of the blocks that some cut points name, of which the last is the backbone's end or `ends_early`.

        Raises:
            UsageError: a cut point is unknown, out of order, or the last one is not the backbone's end.
        """
        ends = [self.block_index(cut) for cut in cuts]
        if any(later <= earlier for earlier, later in itertools.pairwise(ends)):
            raise UsageError(f"cut points {', '.join(cuts)} are not in the order of the backbone")
        if ends[-1] != len(self.blocks) - 1 and not ends_early:
            raise UsageError(
                f"the last exit is at {cuts[-1]}, but the backbone ends at {self.end_name}; end with that, or "
                "set exits.final: new to leave out what follows"
            )
        return ends
