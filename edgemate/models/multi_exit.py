"""The multi-exit model: a backbone cut into stages, and a head after each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from edgemate.errors import UsageError
from edgemate.models.backbone import Backbone, Features, Tap
from edgemate.models.heads.head import Head


class ExitOutputs(NamedTuple):
    """What all exits say of a batch.

    Attributes:
        logits: (N, K, C).
        pooled: per exit the pooled feature that its classifier reads, (N, D_k).
        maps: per exit the feature map that its head reads, (N, D, H, W).
    """

    logits: Tensor
    pooled: tuple[Tensor, ...]
    maps: tuple[Tensor, ...] = ()


AtCut = Callable[[int, Features], tuple[Features, Features]]
"""From k and the features after stage k to those that head k reads and those that stage k+1 goes on from."""


class MultiExitModel(nn.Module):
    """K stages, each followed by a head.

    Args:
        backbone: the network that is cut. Its blocks move into the stages of this model.
        at: cut points in order; the last must be the backbone's end. None: the backbone's usual ones.
        make_head: from the tap at a cut to the head that stands there.

    Attributes:
        cuts: names of the cut points, one per exit.
        taps: what each head finds at its cut.
        pooled_widths: per exit the width D_k of its pooled feature.

    Raises:
        UsageError: a cut point is unknown, out of order, or the last one is not the backbone's end.
    """

    def __init__(self, backbone: Backbone, at: Sequence[str] | None, make_head: Callable[[Tap], Head]) -> None:
        super().__init__()
        self.cuts = tuple(at or backbone.default_cuts)
        ends = [backbone.block_index(cut) for cut in self.cuts]
        if any(later <= earlier for earlier, later in itertools.pairwise(ends)):
            raise UsageError(f"cut points {', '.join(self.cuts)} are not in the order of the backbone")
        if ends[-1] != len(backbone.blocks) - 1:
            raise UsageError(
                f"the last exit stands at {self.cuts[-1]}, but the backbone ends at {backbone.default_cuts[-1]}"
            )
        starts = [0, *(end + 1 for end in ends[:-1])]
        self.stages = nn.ModuleList(
            _Stage([backbone.blocks[i] for i in range(start, end + 1)]) for start, end in zip(starts, ends, strict=True)
        )
        self.taps = tuple(backbone.taps[backbone.block_names[end]] for end in ends)
        heads = [make_head(tap) for tap in self.taps]
        self.heads = nn.ModuleList(heads)
        self.pooled_widths = tuple(head.width for head in heads)

    @property
    def exits(self) -> int:
        """K."""
        return len(self.stages)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of every exit: (N, C, H, W) → (N, K, classes)."""
        return self.outputs(images).logits

    def outputs(self, images: Tensor, at_cut: AtCut | None = None) -> ExitOutputs:
        """Logits, pooled features and maps of every exit for `images` of shape (N, C, H, W).

        Args:
            images: the pictures.
            at_cut: laid over the features at every cut, for objectives that change what flows back there.
        """
        features: Features = {"image": images}
        logits, pooled, maps = [], [], []
        for exit, (stage, head, tap) in enumerate(zip(self.stages, self.heads, self.taps, strict=True), 1):
            features = stage(features)
            read, features = at_cut(exit, features) if at_cut else (features, features)
            exit_logits, exit_pooled = head(read)
            logits.append(exit_logits)
            pooled.append(exit_pooled)
            maps.append(read[tap.tensor])
        return ExitOutputs(torch.stack(logits, 1), tuple(pooled), tuple(maps))


class Prefix(nn.Module):
    """Input to exit k and nothing else: (N, C, H, W) → logits (N, classes). Shares the model's modules.

    Args:
        model: the multi-exit model.
        exit: k, 1-based.
    """

    def __init__(self, model: MultiExitModel, exit: int) -> None:
        super().__init__()
        self.stages = model.stages[:exit]
        self.head = model.heads[exit - 1]

    def forward(self, image: Tensor) -> Tensor:
        """Logits of exit k."""
        features: Features = {"image": image}
        for stage in self.stages:
            features = stage(features)
        logits: Tensor = self.head(features)[0]
        return logits


class Segment(nn.Module):
    """Features of exit k−1 to features and logits of exit k. Shares the model's modules.

    Args:
        model: the multi-exit model.
        exit: k, 1-based. Segment 1 takes `{"image": (N, C, H, W)}`.
    """

    def __init__(self, model: MultiExitModel, exit: int) -> None:
        super().__init__()
        self.stage = model.stages[exit - 1]
        self.head = model.heads[exit - 1]

    def forward(self, features: Features) -> tuple[Features, Tensor]:
        """The features after this stage, and the logits (N, classes) of its exit."""
        features = self.stage(features)
        return features, self.head(features)[0]


class _Stage(nn.Module):
    """The blocks between two cuts."""

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, features: Features) -> Features:
        for block in self.blocks:
            features = block(features)
        return features
