"""The optimizer's parameter groups: heads, backbone by stage, and the method's own parameters."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from edgemate.models import MultiExitModel

Group = dict[str, Any]


def parameter_groups(
    model: MultiExitModel,
    own: list[nn.Parameter],
    *,
    lr: float,
    weight_decay: float,
    backbone_lr_scale: float,
    layer_decay: float,
    own_rates: Mapping[nn.Parameter, float] = MappingProxyType({}),
) -> list[Group]:
    """Groups of all parameters that train, with the weight decay and, where it is not `lr`, the rate of each.

    Stage k of K learns at lr · `backbone_lr_scale` · `layer_decay`^(K−k), heads at lr, and so does the method but for
    `own_rates`. Layer-wise decay of
    the rate is that of BEiT (Bao et al., arXiv 2106.08254), here by stage instead of by layer, and with the last stage
    at the backbone's full rate. The first group always learns at lr, which the logs show.

    Args:
        model: parameters that need no gradient are in no group.
        own: the method's parameters, which get no weight decay.
        lr: learning rate of the heads.
        weight_decay: of all but the method's parameters.
        backbone_lr_scale: factor on the backbone's learning rate.
        layer_decay: a further factor per stage, counted from the last.
        own_rates: of the method's parameters those with another rate than lr, and that rate.
    """
    if backbone_lr_scale == 1 and layer_decay == 1:
        groups = [_group(model, weight_decay)]
    else:
        rates = [lr * backbone_lr_scale * layer_decay ** (model.exits - k) for k in range(1, model.exits + 1)]
        stages = zip(model.stages, rates, strict=True)
        groups = [_group(model.heads, weight_decay)]
        groups += [{**_group(stage, weight_decay), "lr": rate} for stage, rate in stages]
    groups.append({"params": [one for one in own if one not in own_rates], "weight_decay": 0.0})
    groups += [{"params": [one], "weight_decay": 0.0, "lr": own_rates[one]} for one in own if one in own_rates]
    return [group for group in groups if group["params"]]


def _group(module: nn.Module, weight_decay: float) -> Group:
    return {"params": [one for one in module.parameters() if one.requires_grad], "weight_decay": weight_decay}
