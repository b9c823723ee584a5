"""What every exit costs on paper: MACs and parameters.

MACs are what fvcore calls flops: a multiplication and the addition that goes with it count once; FLOPs = 2 × MACs.
Convolutions, linear layers, matrix products and attention count, as in the figures that papers and torchvision
publish. Normalization, which inference mostly folds into a convolution, and pooling do not.
They are counted on a module that returns only exit k, because fvcore leaves out only what the output does not use.
fvcore counts no plain products, so mixing (`edgemate.models.mixing`) is counted here: k · C MACs for exit k's logits.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from edgemate.models.backbone import Backbone
from edgemate.models.multi_exit import MultiExitModel, Prefix


@dataclass(frozen=True)
class ExitCost:
    """Cost of one image that leaves at one exit.

    Attributes:
        exit: k, 1-based.
        macs: MACs from the image to exit k with no earlier head run (a prefix). When mixing, the earlier heads are
            part of the prefix; chaining then adds the earlier exits' mixtures.
        chained_macs: MACs when the heads of exits 1 … k are all run (segments up to k), and with them all that segment
            k passes on. In multi-scale networks that is more than exit k needs.
        parameters: parameters of the prefix's modules as in PyTorch, those of normalization included, which export may
            fold away. In multi-scale networks an exit does not read all that its stages compute; see `count_layers`.
        chained_parameters: parameters of segments 1 … k.
    """

    exit: int
    macs: int
    chained_macs: int
    parameters: int
    chained_parameters: int


@dataclass(frozen=True)
class Costs:
    """The cost of every exit, and what the MACs leave out.

    Attributes:
        exits: one entry per exit, in order.
        skipped: operator → how often it occurs on the way to the last exit; fvcore has no count for these.
    """

    exits: tuple[ExitCost, ...]
    skipped: dict[str, int]


def count_costs(model: MultiExitModel, image_shape: Sequence[int]) -> Costs:
    """Count what every exit costs for one image of shape (C, H, W).

    The model is counted in evaluation mode and left in the mode it was in.
    """
    was_training = model.training
    model.eval()
    try:
        image = torch.zeros(1, *image_shape, device=next(model.parameters()).device)
        with torch.no_grad():
            classes = model(image).shape[-1]
        exits: list[ExitCost] = []
        # What chaining adds to the prefix.
        beside = beside_parameters = 0
        skipped: Counter[str] = Counter()
        for exit in range(1, model.exits + 1):
            prefix = Prefix(model, exit)
            macs, head_macs, skipped = _count_macs(prefix, image)
            ahead_macs = _count_ahead(model, exit, image)
            mixture_macs = exit * classes if prefix.mixture else 0
            macs += mixture_macs
            parameters = _parameters(prefix)
            exits.append(
                ExitCost(
                    exit=exit,
                    macs=macs,
                    chained_macs=macs + beside + ahead_macs,
                    parameters=parameters,
                    chained_parameters=parameters + beside_parameters,
                )
            )
            beside += mixture_macs if prefix.mixture else head_macs
            beside_parameters += 0 if prefix.mixture else _parameters(prefix.head)
        return Costs(tuple(exits), dict(skipped))
    finally:
        model.train(was_training)


def block_macs(backbone: Backbone, image_shape: Sequence[int]) -> list[int]:
    """MACs of every block of a backbone, and last those of its own classifier if it has one, for one image (C, H, W).

    The backbone is counted in evaluation mode and left in the mode it was in.
    """
    modules = [*backbone.blocks]
    if backbone.own_head is not None:
        modules.append(backbone.own_head.module)
    chain = _Chain(modules)
    was_training = [module.training for module in modules]
    chain.eval()
    try:
        device = next((parameter.device for parameter in chain.parameters()), torch.device("cpu"))
        by_module, _ = _by_module(chain, torch.zeros(1, *image_shape, device=device))
        return [int(by_module[f"steps.{i}"]) for i in range(len(modules))]
    finally:
        for module, training in zip(modules, was_training, strict=True):
            module.train(training)


def macs_by_path(module: nn.Module, image: torch.Tensor) -> Counter[str]:
    """MACs of a module in evaluation mode and of each of its submodules by path, the module itself as the empty one."""
    return _by_module(module, image)[0]


class _Chain(nn.Module):
    """Blocks one after the other; returns every tensor of the last."""

    def __init__(self, steps: Sequence[nn.Module]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)

    def forward(self, image: torch.Tensor) -> Any:
        features: Any = {"image": image}
        for step in self.steps:
            features = step(features)
        return tuple(features.values()) if isinstance(features, dict) else features


def _count_macs(prefix: Prefix | _Reach, image: torch.Tensor) -> tuple[int, int, Counter[str]]:
    """MACs of the whole prefix without its mixture, and of its head alone, and the operators left out."""
    by_module, analysis = _by_module(prefix, image)
    skipped = analysis.unsupported_ops()
    if prefix.mixture:
        skipped -= analysis.unsupported_ops("mixture")
    return int(by_module[""]), int(by_module["head"]), skipped


def _by_module(module: nn.Module, image: torch.Tensor) -> tuple[Counter[str], Any]:
    """MACs by path of module, and fvcore's analysis."""
    with warnings.catch_warnings(), torch.no_grad():
        # fvcore uses torch.jit, on import and to trace; torch's notices about that do not concern the network.
        warnings.simplefilter("ignore")
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(module, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        analysis.set_op_handle(**dict.fromkeys(_NOT_COUNTED, _nothing))
        analysis.set_op_handle("aten::scaled_dot_product_attention", _attention_macs)
        jit_log = logging.getLogger("fvcore")
        level = jit_log.level
        jit_log.setLevel(logging.ERROR)
        fast_path = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # one operator for a whole layer, which fvcore does not know
        try:
            return analysis.by_module(), analysis
        finally:
            torch.backends.mha.set_fastpath_enabled(fast_path)
            jit_log.setLevel(level)


_NOT_COUNTED = (
    "aten::batch_norm",
    "aten::group_norm",
    "aten::layer_norm",
    "aten::instance_norm",
    "aten::adaptive_avg_pool2d",
    "aten::upsample_nearest2d",
    "aten::upsample_bilinear2d",
    "aten::grid_sampler",
)


def _nothing(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    return 0


def _attention_macs(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """MACs of softmax(Q Kᵀ) V without the softmax: Q (…, L, E), K (…, S, E), V (…, S, F)."""
    query, key, value = (tensor.type().sizes() for tensor in inputs[:3])
    return int(math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1]))


class _Reach(nn.Module):
    """Exit k's own logits, and if wanted all that its stage passes on."""

    mixture = None

    def __init__(self, model: MultiExitModel, exit: int, with_features: bool) -> None:
        super().__init__()
        self.stages, self.head = model.stages[:exit], model.heads[exit - 1]
        self.with_features = with_features

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = {"image": image}
        for stage in self.stages:
            features = stage(features)
        logits: torch.Tensor = self.head(features)[0]
        return (logits, *features.values()) if self.with_features else (logits,)


def _count_ahead(model: MultiExitModel, exit: int, image: torch.Tensor) -> int:
    """MACs up to exit k whose results only later stages read."""
    with torch.no_grad():
        if exit == model.exits or len(_Reach(model, exit, with_features=True)(image)) == 2:
            return 0
    needed, computed = (_count_macs(_Reach(model, exit, wanted), image)[0] for wanted in (False, True))
    return computed - needed


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
