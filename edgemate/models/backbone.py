"""What every backbone is: named blocks in a row, each of which may be the place of a cut.

What passes a cut is a mapping of named tensors, not one tensor: multi-scale networks pass several feature maps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from edgemate.errors import UsageError
from edgemate.registry import closest

Features = dict[str, Tensor]
"""Named tensors that pass a cut. Heads read `features`, (N, D, H, W), the only one that a plain backbone has."""


@dataclass(frozen=True)
class Tap:
    """The feature map at a cut that a head reads, `features`.

    Attributes:
        channels: channels of the map here.
        final_channels: channels of the map at the end of the backbone.
        reductions: how many times the height and width are still halved between here and there.
    """

    channels: int
    final_channels: int
    reductions: int


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
        default_cuts: names of the blocks after which this family usually has its exits, the last block last.
        aliases: further names for blocks (`layer1` for the last block of that layer).
    """

    def __init__(
        self,
        blocks: Mapping[str, nn.Module],
        taps: Mapping[str, Tap],
        default_cuts: Sequence[str],
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.block_names = tuple(blocks)
        self.blocks = nn.ModuleList(blocks.values())
        self.taps = dict(taps)
        self.default_cuts = tuple(default_cuts)
        self.aliases = dict(aliases or {})

    def block_index(self, cut: str) -> int:
        """Position of the block that a cut point names. Raises UsageError for a name that is none of ours."""
        name = self.aliases.get(cut, cut)
        if name not in self.block_names:
            known = [*self.aliases, *self.block_names]
            raise UsageError(f"unknown cut point {cut!r}; {closest(cut, known)}")
        return self.block_names.index(name)
