"""MATE's ensembles: the depth of every teacher among the exits, and its weights over them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_WIDTH = 32

_ALONE = 1e-6
"""A teacher whose other exits have less than this in all is one of that exit alone."""


def primary_teachers(exits: int, teachers: int) -> list[int]:
    """For each exit its primary teacher, both from 0: the nearest in relative depth, the shallower in a tie.

    Exit i of K is at depth (i − ½)/K and teacher k of T at (k − ½)/T, so with T = K exit k has teacher k.
    """
    return [min(range(teachers), key=lambda k: (_depth_distance(i, exits, k, teachers), k)) for i in range(exits)]


def own_exits(exits: int, teachers: int) -> list[int]:
    """For each teacher its own exit, both from 0: the nearest in relative depth, the deeper in a tie."""
    return [min(range(exits), key=lambda i: (_depth_distance(i, exits, k, teachers), -i)) for k in range(teachers)]


def teacher_fractions(exits: int, teachers: int, primary: float, primary_last: float) -> Tensor:
    """g: the weight of every teacher in every exit's target, float32 (K, T), each row summing to 1."""
    rows = []
    for i, first in enumerate(primary_teachers(exits, teachers)):
        weight = primary_last if i == exits - 1 else primary
        others = (1 - weight) / max(teachers - 1, 1)
        rows.append([1.0 if teachers == 1 else weight if k == first else others for k in range(teachers)])
    return torch.tensor(rows)


def frozen_scores(weights: str, exits: int, teachers: int) -> Tensor:
    """Scores whose softmax is the named ensemble, in every row: (T, K)."""
    row = torch.zeros(exits)
    if weights == "geometric":
        row = torch.arange(exits) * torch.log(torch.tensor(1.6))
    elif weights == "last_exit":
        row = torch.full((exits,), -torch.inf)
        row[-1] = 0.0
    return row.expand(teachers, exits).clone()


def weighted_without(logits: Tensor, weights: Tensor) -> Tensor:
    """For every exit the teachers without it: (N, K, C), and (T, K) or of every image (N, T, K) → (N, T, K, C).

    What remains is scaled to sum to 1. A teacher of one exit alone stays whole for that exit.
    """
    exits = logits.shape[1]
    kept = weights.unsqueeze(-2) * (1 - torch.eye(exits, device=logits.device, dtype=weights.dtype))
    total = kept.sum(-1, keepdim=True)
    others = torch.where(total > _ALONE, kept / total.clamp(min=_ALONE), weights.unsqueeze(-2))
    return torch.einsum("ntij,njc->ntic" if others.dim() == 4 else "tij,njc->ntic", others, logits)


class Attention(nn.Module):
    """Scores of every exit for every teacher, for each image: the query of a teacher on the keys of the exits.

    Query and keys are linear projections of pooled features, as between the peers of OKDDip (Chen et al., AAAI 2020,
    arXiv 1912.00350). That features are scaled to length 1 first and that queries start at 0, so that training begins
    with the weights that it has without attention, is ours.

    Args:
        widths: per exit the width D_k of its pooled feature.
        own: per teacher the exit whose feature its query reads, from 0.
    """

    def __init__(self, widths: Sequence[int], own: Sequence[int]) -> None:
        super().__init__()
        self.own = tuple(own)
        queries = [nn.Linear(widths[i], _WIDTH, bias=False) for i in own]
        keys = [nn.Linear(width, _WIDTH, bias=False) for width in widths]
        for query in queries:
            nn.init.zeros_(query.weight)
        for key in keys:
            nn.init.normal_(key.weight)
        self.queries, self.keys = nn.ModuleList(queries), nn.ModuleList(keys)

    def forward(self, pooled: Sequence[Tensor]) -> Tensor:
        """K × (N, D_k) → (N, T, K). Gradients reach the projections, not the features."""
        features = [F.normalize(feature.detach(), dim=1) for feature in pooled]
        queries = torch.stack([query(features[i]) for i, query in zip(self.own, self.queries, strict=True)], 1)
        keys = torch.stack([key(feature) for key, feature in zip(self.keys, features, strict=True)], 1)
        scores: Tensor = queries @ keys.transpose(1, 2) / _WIDTH**0.5
        return scores


def _depth_distance(exit: int, exits: int, teacher: int, teachers: int) -> int:
    """Distance in depth between an exit and a teacher, in units that keep it an integer, so that ties are exact."""
    return abs((2 * exit + 1) * teachers - (2 * teacher + 1) * exits)
