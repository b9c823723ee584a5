"""The multi-exit model: a backbone cut into stages, and a head after each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgemate.errors import UsageError
from edgemate.models.backbone import Backbone, Features, Tap
from edgemate.models.heads.head import Head
from edgemate.models.heads.own import OwnClassifier
from edgemate.models.mixing import Mixture, checked_mixing, mixture
from edgemate.registry import closest

RAW_LOGITS = "raw_logits"
"""Beside the feature tensors, what passes a cut with mixing: the raw logits of the exits so far, (N, k, C)."""


class ExitOutputs(NamedTuple):
    """Outputs of all exits for a batch.

    Attributes:
        logits: (N, K, C).
        pooled: per exit the pooled feature that its classifier reads, (N, D_k).
        maps: per exit the feature map that its head reads, (N, D, H, W).
    """

    logits: Tensor
    pooled: tuple[Tensor, ...]
    maps: tuple[Tensor, ...] = ()


AtCut = Callable[[int, Features], tuple[Features, Features]]
"""From k and the features after stage k to those that head k reads and those that stage k+1 takes."""


class MultiExitModel(nn.Module):
    """K stages, each followed by a head.

    Args:
        backbone: the network that is cut. Its blocks move into the stages of this model.
        at: cut points in order; the last must be the backbone's end. None: the backbone's usual ones.
        make_head: from the tap at a cut to the head there.
        own_last: the last exit's head is the backbone's own classifier.
        ends_early: the last cut may come before the backbone's end; what follows is left out.

    Attributes:
        cuts: names of the cut points, one per exit.
        taps: what each head finds at its cut.
        pooled_widths: per exit the width D_k of its pooled feature.
        notes: sentences about the weights that were loaded, for whoever trains the model.
        mixing: W, float32 (K, K), if exits return weighted sums of logits (see `edgemate.models.mixing`); it is then
            stored with the weights. None: every exit returns its own logits.

    Raises:
        UsageError: a cut point is unknown, out of order, or the last one is not the backbone's end.
    """

    def __init__(
        self,
        backbone: Backbone,
        at: Sequence[str] | None,
        make_head: Callable[[Tap], Head],
        *,
        own_last: bool = False,
        ends_early: bool = False,
    ) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.cuts = tuple(at or backbone.default_cuts or (backbone.end,))
        ends = backbone.exit_blocks(self.cuts, ends_early)
        starts = [0, *(end + 1 for end in ends[:-1])]
        self.stages = nn.ModuleList(
            _Stage([backbone.blocks[i] for i in range(start, end + 1)]) for start, end in zip(starts, ends, strict=True)
        )
        self.taps = tuple(backbone.taps[backbone.block_names[end]] for end in ends)
        own = OwnClassifier(backbone.own_head) if own_last and backbone.own_head is not None else None
        new = self.taps[:-1] if own else self.taps
        heads: list[Head | OwnClassifier] = [make_head(tap) for tap in new]
        if own is not None:
            heads.append(own)
        self.heads = nn.ModuleList(heads)
        self.pooled_widths = tuple(head.width for head in heads)
        self.backbone_frozen = False
        self.statistics_frozen = False
        self.frozen_until: str | None = None
        self._first_blocks: list[nn.Module] = []
        self._block_index = {name: backbone.block_index(name) for name in (*backbone.block_names, *backbone.aliases)}
        self.register_buffer("mixing", None)
        self.mixing: Tensor | None

    def freeze_backbone(self) -> None:
        """Let only the heads train from now on: the stages need no gradient, and stay in evaluation mode.

        A last head with an attribute `pretrained` that is true is the network's own classifier with its own weights.
        It is frozen too, so that the last exit's raw logits stay those of the network as it was.
        """
        self.backbone_frozen = True
        for module in self.frozen_modules():
            module.requires_grad_(False)
        self.train(self.training)

    def freeze_until(self, cut: str) -> None:
        """Let everything up to a cut point stay as it is from now on, in evaluation mode and without a gradient.

        Raises:
            UsageError: the backbone has no cut point of that name, or no exit after it.
        """
        if cut not in self._block_index:
            raise UsageError(f"unknown cut point {cut!r}; {closest(cut, list(self._block_index))}")
        blocks = [block for stage in self.stages for block in cast(_Stage, stage).blocks]
        last = self._block_index[cut]
        if last >= len(blocks) - 1:
            raise UsageError(f"the network ends at {cut}; to train the heads alone, set training.freeze to backbone")
        self.frozen_until, self._first_blocks = cut, blocks[: last + 1]
        for block in self._first_blocks:
            block.requires_grad_(False)
        self.train(self.training)

    def freeze_statistics(self) -> None:
        """Let batch normalization of the stages normalize as in evaluation from now on, with fixed mean and variance.

        Its scale and shift still train. Statistics of a few thousand images are poorer than those that came with the
        weights: they change what the network computes even where no weight changes. A last head that is the network's
        own classifier counts as part of the backbone; the other heads go on estimating theirs.
        """
        self.statistics_frozen = True
        self.train(self.training)

    def fixed_norms(self) -> list[nn.Module]:
        """The batch normalization whose statistics are frozen: none, or after `freeze_statistics` the backbone's."""
        if not self.statistics_frozen:
            return []
        last = self.heads[-1]
        parts = [self.stages, *([last] if isinstance(last, OwnClassifier) else [])]
        return [module for part in parts for module in part.modules() if isinstance(module, _BatchNorm)]

    def frozen_modules(self) -> list[nn.Module]:
        """The modules that do not train: after `freeze_backbone` the stages and perhaps the last head."""
        if not self.backbone_frozen:
            return self._first_blocks
        last = self.heads[-1]
        return [self.stages, *([last] if getattr(last, "pretrained", False) else [])]

    def train(self, mode: bool = True) -> MultiExitModel:
        """Like any module, but what is frozen stays in evaluation mode."""
        super().train(mode)
        for module in (*self.frozen_modules(), *self.fixed_norms()):
            module.eval()
        return self

    @property
    def exits(self) -> int:
        """K, the number of exits."""
        return len(self.stages)

    def set_mixing(self, weights: Tensor | None) -> None:
        """Let exit k return Σ_{j≤k} W_kj z_j from now on; its own logits if None.

        Raises:
            UsageError: W is not lower-triangular (K, K).
        """
        if weights is None:
            self.mixing = None
        elif self.mixing is None:
            self.mixing = checked_mixing(weights, self.exits).to(next(self.parameters()).device, copy=True)
        else:  # in place, where averaged copies and checkpoints look for it
            self.mixing.copy_(checked_mixing(weights, self.exits))

    def ensemble_logits(self, raw_logits: Tensor) -> Tensor:
        """Ensembled logits of every exit; without mixing the raw logits themselves: (N, K, C) → (N, K, C)."""
        mixing = self.mixing
        if mixing is None:
            return raw_logits
        return torch.stack([mixture(raw_logits[:, :k], mixing[k - 1, :k]) for k in range(1, self.exits + 1)], 1)

    def forward(self, images: Tensor) -> Tensor:
        """Ensembled logits of every exit: (N, C, H, W) → (N, K, classes)."""
        return self.ensemble_logits(self.outputs(images).logits)

    def outputs(self, images: Tensor, at_cut: AtCut | None = None) -> ExitOutputs:
        """Raw logits, pooled features and maps of every exit for `images` of shape (N, C, H, W).

        Args:
            images: the images.
            at_cut: applied to the features at every cut, for objectives that change what flows back there.
        """
        features: Features = {"image": images}
        logits, pooled, maps = [], [], []
        for exit, (stage, head) in enumerate(zip(self.stages, self.heads, strict=True), 1):
            features = stage(features)
            read, features = at_cut(exit, features) if at_cut else (features, features)
            exit_logits, exit_pooled = head(read)
            logits.append(exit_logits)
            pooled.append(exit_pooled)
            maps.append(read["features"])
        return ExitOutputs(torch.stack(logits, 1), tuple(pooled), tuple(maps))

    def features_at_cuts(self, images: Tensor) -> Iterator[Tensor]:
        """What each head reads for `images` (N, C, H, W), `features`, exit after exit.

        A tensor must be used before the next one is taken: a stage may change its input in place.
        """
        features: Features = {"image": images}
        for stage in self.stages:
            features = stage(features)
            yield features["features"]

    def outputs_from(self, at_cuts: Sequence[Tensor], at_cut: AtCut | None = None) -> ExitOutputs:
        """As `outputs`, from the tensors of `features_at_cuts` instead of images: the stages do not run."""
        logits, pooled, maps = [], [], []
        for exit, (tensor, head) in enumerate(zip(at_cuts, self.heads, strict=True), 1):
            features: Features = {"features": tensor}
            read = at_cut(exit, features)[0] if at_cut else features
            exit_logits, exit_pooled = head(read)
            logits.append(exit_logits)
            pooled.append(exit_pooled)
            maps.append(read["features"])
        return ExitOutputs(torch.stack(logits, 1), tuple(pooled), tuple(maps))


class Prefix(nn.Module):
    """Input to the logits of exit k and nothing else: (N, C, H, W) → (N, classes). Shares the model's modules.

    With mixing these need the heads of exits 1 … k−1, which are then part of it.

    Args:
        model: the multi-exit model.
        exit: k, 1-based.
    """

    def __init__(self, model: MultiExitModel, exit: int) -> None:
        super().__init__()
        self.stages = model.stages[:exit]
        self.head = model.heads[exit - 1]
        self.mixture = _mixture(model, exit)
        self.earlier_heads = model.heads[: exit - 1] if self.mixture else nn.ModuleList()

    def forward(self, image: Tensor) -> Tensor:
        """Ensembled logits of exit k, (N, classes)."""
        features: Features = {"image": image}
        earlier = []
        for stage, head in itertools.zip_longest(self.stages, self.earlier_heads):
            features = stage(features)
            if head is not None:
                earlier.append(head(features)[0])
        logits: Tensor = self.head(features)[0]
        if self.mixture is None:
            return logits
        mixed: Tensor = self.mixture(torch.stack([*earlier, logits], 1))
        return mixed


class Segment(nn.Module):
    """Features of exit k−1 to features and logits of exit k. Shares the model's modules.

    With mixing, `RAW_LOGITS` is among the features that a segment returns, and that all but the first take.

    Args:
        model: the multi-exit model.
        exit: k, 1-based. Segment 1 takes `{"image": (N, C, H, W)}`.
    """

    def __init__(self, model: MultiExitModel, exit: int) -> None:
        super().__init__()
        self.stage = model.stages[exit - 1]
        self.head = model.heads[exit - 1]
        self.mixture = _mixture(model, exit)

    def forward(self, features: Features) -> tuple[Features, Tensor]:
        """The features after this stage, and the ensembled logits (N, classes) of its exit."""
        earlier = [features[RAW_LOGITS]] if RAW_LOGITS in features else []
        features = self.stage({name: tensor for name, tensor in features.items() if name != RAW_LOGITS})
        logits = self.head(features)[0]
        if self.mixture is None:
            return features, logits
        raw_logits = torch.cat([*earlier, logits.unsqueeze(1)], 1)
        return {**features, RAW_LOGITS: raw_logits}, self.mixture(raw_logits)


def _mixture(model: MultiExitModel, exit: int) -> Mixture | None:
    return None if model.mixing is None else Mixture(model.mixing[exit - 1, :exit])


class _Stage(nn.Module):
    """The blocks between two cuts."""

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, features: Features) -> Features:
        for block in self.blocks:
            features = block(features)
        return features
