"""The optimizer's parameter groups: heads, backbone by stage, and the method's own parameters."""

from __future__ import annotations

from typing import Any

from torch import nn

from edgemate.config import Optimization
from edgemate.models import MultiExitModel

Group = dict[str, Any]


def parameter_groups(model: MultiExitModel, own: list[nn.Parameter], settings: Optimization) -> list[Group]:
    """Groups of all parameters that train, with the weight decay and, where it is not `lr`, the rate of each.

    Stage k of K learns at lr · `backbone_lr_scale` · `layer_decay`^(K−k), heads and method at lr. Layer-wise decay of
    the rate is that of BEiT (Bao et al., arXiv 2106.08254), here by stage instead of by layer, and with the last stage
    at the backbone's full rate. The first group always learns at lr, which the logs show.

    Args:
        model: parameters that need no gradient are in no group.
        own: the method's parameters, which get no weight decay.
        settings: the recipe's section.
    """
    decay = settings.weight_decay
    if settings.backbone_lr_scale == 1 and settings.layer_decay == 1:
        groups = [_group(model, decay)]
    else:
        stages = [(stage, settings.layer_decay ** (model.exits - k)) for k, stage in enumerate(model.stages, 1)]
        rate = settings.lr * settings.backbone_lr_scale
        groups = [_group(model.heads, decay), *({**_group(stage, decay), "lr": rate * f} for stage, f in stages)]
    groups.append({"params": own, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]


def _group(module: nn.Module, weight_decay: float) -> Group:
    return {"params": [one for one in module.parameters() if one.requires_grad], "weight_decay": weight_decay}
