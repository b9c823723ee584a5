"""`okddip`: Online Knowledge Distillation with Diverse Peers (Chen et al., AAAI 2020, arXiv 1912.00350).

Every auxiliary peer attends to its peers and learns from an ensemble of its own; the group leader, the last exit,
learns from their plain mean. Losses, attention, T, L and the ramp are as in the authors' code,
DefangChen/OKDDip-AAAI2020, which mixes logits where the paper writes predictions.

**Ours**, since OKDDip's peers are copies of one last stage, or whole networks, and exits are not: exits 1 … K−1 are the
peers; each has query and key projections of its own, as features of different depth have no common space and may differ
in width; peers attend to the leader too (`attend: all`), as the exit that knows most, but nothing flows back to it; and
the ramp, 80 of 300 epochs there, is a fraction of the training, so that it fits any number.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from edgemate.config import Tune
from edgemate.distillation.method import Batch, Loss, Method, Progress, Setting
from edgemate.distillation.terms import kl_to, ramp
from edgemate.distributed.reduce import mean_over_ranks
from edgemate.models import ExitOutputs


class OKDDip(Method):
    """Σ_k CE(z_k, y) + w(e) α T² [Σ_{i<K} KL(s_T(t_i) ‖ s_T(z_i)) + KL(s_T(z̄) ‖ s_T(z_K))].

        peer i's teacher    t_i = Σ_j softmax_j(q_i · e_j) z_j,  q_i = Q_i f_i,  e_j = E_j f_j ∈ R^L, per image
        leader's teacher    z̄ = Σ_{i<K} z_i / (K−1)
        ramp                w(e) = exp(−5 (1 − e/ramp)²) until e reaches `ramp_up`, then 1

    As in the authors' code neither teacher is a constant: the KL to it is all that trains Q and E, and through it
    the peers move towards their students too. Only the leader as a teacher, z_K and f_K in t_i, is held constant.
    Nothing then keeps a peer from attending to itself alone, where its KL is 0; `report` shows when one does.

    Args:
        setting: what it is built for.
        temperature: T.
        alpha: α, weight of the teachers once the ramp is over.
        attend: whom peers attend to: `all` exits, or as in the paper `peers`, themselves included.
        width: L; an eighth of the last exit's feature width if absent.
        ramp_up: fraction of the training over which α rises; 0 for all of it from the start.
    """

    weighs_classes = True

    def __init__(
        self,
        setting: Setting,
        *,
        temperature: Annotated[float, Field(gt=0), Tune(1.0, 8.0, log=True)] = 3.0,
        alpha: Annotated[float, Field(ge=0), Tune(0.2, 5.0, log=True)] = 1.0,
        attend: Literal["all", "peers"] = "all",
        width: Annotated[int, Field(gt=0, le=8192)] | None = None,
        ramp_up: Annotated[float, Field(ge=0, le=1), Tune(0.0, 0.5)] = 0.27,
    ) -> None:
        super().__init__(setting)
        self.temperature, self.alpha, self.ramp_up = temperature, alpha, ramp_up
        widths = setting.pooled_widths
        self.peers = setting.exits - 1
        self.attended = setting.exits if self.peers and attend == "all" else self.peers
        length = width or max(1, widths[-1] // 8)
        self.queries = _projections(widths[: self.peers], length)
        self.keys = _projections(widths[: self.attended], length)
        self.register_buffer("mean_weights", torch.full((self.peers, self.attended), 1 / max(1, self.attended)))
        self.mean_weights: Tensor

    @property
    def label_weight(self) -> float:
        """1 at every exit."""
        return 1.0

    def forward(self, outputs: ExitOutputs, batch: Batch, progress: Progress) -> Loss:
        """The three terms and their sum; one exit alone has its labels only."""
        logits = outputs.logits
        hard = self.hard_labels(logits, batch.labels).sum()
        if not self.peers:
            return Loss(hard, {"labels": hard.detach()})
        weights = self._attention(outputs.pooled)
        self.mean_weights.copy_(mean_over_ranks(weights.detach().mean(0), len(weights)))
        weight = self.alpha * ramp(progress.fraction, self.ramp_up)
        peers, leader = logits[:, :-1], logits[:, -1:]
        seen = torch.cat((peers, leader.detach()), 1)[:, : self.attended]
        own = weight * kl_to(weights @ seen, peers, self.temperature).sum()
        group = weight * kl_to(peers.mean(1, keepdim=True), leader, self.temperature).sum()
        terms = {"labels": hard.detach(), "peers": own.detach(), "leader": group.detach()}
        return Loss(hard + own + group, terms)

    def report(self) -> dict[str, float]:
        """Weight of every exit in every peer's teacher, both counted from 1: mean over the last batch."""
        rows = self.mean_weights.tolist()
        return {f"peer{i}_exit{j}": weight for i, row in enumerate(rows, 1) for j, weight in enumerate(row, 1)}

    def _attention(self, pooled: tuple[Tensor, ...]) -> Tensor:
        """Weights of what every peer attends to: (N, K−1, K or K−1), each row summing to 1."""
        seen = (*pooled[:-1], pooled[-1].detach())[: self.attended]
        queries = torch.stack([project(f) for project, f in zip(self.queries, pooled[:-1], strict=True)], 1)
        keys = torch.stack([project(f) for project, f in zip(self.keys, seen, strict=True)], 1)
        return F.softmax(queries @ keys.transpose(1, 2), -1)


def _projections(widths: tuple[int, ...], length: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(width, length, bias=False) for width in widths)
