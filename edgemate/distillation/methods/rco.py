"""`rco`: Route Constrained Optimization (Jin et al., ICCV 2019, arXiv 1904.09149): follow the teacher along its route.

The exits learn from the teacher as it was after several epochs of its own training, least mature first. Known to us
from the abstract; **our reconstruction** are the loss at every anchor, which is `kd`'s, and the greedy schedule: on to
the next anchor after the first epoch in which the last exit came within δ of this one, and no later than in equal
intervals, so that the mature teacher always has its turn.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from edgemate.config import Tune
from edgemate.distillation.method import Batch, Loss, Progress, Setting
from edgemate.distillation.methods.kd import KD
from edgemate.distillation.teachers.teacher import Exits
from edgemate.distillation.terms import kl_to
from edgemate.distributed.reduce import mean_over_ranks
from edgemate.errors import UsageError
from edgemate.models import ExitOutputs


class RCO(KD):
    """`kd`'s loss, with the teacher as it was after the epoch whose turn it is.

    Args:
        setting: what it is built for.
        route: the anchors: epochs that the teacher's run has kept, in order; all of them if absent.
        schedule: `intervals` gives every anchor the same number of epochs, `greedy` moves on early, see δ.
        delta: δ in nats, for `greedy`: mean over an epoch of KL(anchor ‖ last exit) at T = 1.
        temperature: T.
        alpha: a, weight of the teacher.
        exits: which learn from the teacher, `all` or the `final` one.

    Raises:
        UsageError: the recipe names no teacher, or its run has not kept these epochs.
    """

    keeps_state = True

    def __init__(
        self,
        setting: Setting,
        *,
        route: Annotated[list[Annotated[int, Field(gt=0)]], Field(min_length=1)] | None = None,
        schedule: Literal["intervals", "greedy"] = "intervals",
        delta: Annotated[float, Field(gt=0)] = 0.5,
        temperature: Annotated[float, Field(gt=0), Tune(1.0, 10.0, log=True)] = 4.0,
        alpha: Annotated[float, Field(ge=0, le=1), Tune(0.1, 0.95)] = 0.9,
        exits: Exits = "all",
    ) -> None:
        teacher = setting.require_teacher("rco")
        super().__init__(setting, temperature=temperature, alpha=alpha, exits=exits)
        self.teacher = teacher.copy()
        self.route = _checked_route(route, list(teacher.route))
        self.schedule, self.delta = schedule, delta
        # A float, since an average of the weights (`optimization.ema`) would round an integer down.
        self.register_buffer("anchor", torch.zeros(()))
        self.register_buffer("gap", torch.tensor([0.0, 0.0]))
        self.anchor: Tensor
        self.gap: Tensor  # sum and number of batches of the epoch
        self._epoch: int | None = None

    def forward(self, outputs: ExitOutputs, batch: Batch, progress: Progress) -> Loss:
        """Hard-label and teacher term, and their sum as the total."""
        if progress.epoch != self._epoch:
            self._begin(progress)
        teacher_logits = self.teacher(batch.images).logits
        gap = kl_to(teacher_logits.unsqueeze(1), outputs.logits[:, -1:].detach(), 1.0).sum()
        gap = mean_over_ranks(gap, len(batch.labels))
        self.gap += torch.stack((gap, torch.ones_like(gap)))
        return self.learn_from(teacher_logits, outputs.logits, batch.labels)

    def report(self) -> dict[str, float]:
        """The anchor's epoch, and the last exit's mean distance from it in this epoch."""
        return {"anchor": self.route[self._anchor_index()], "gap": self._mean_gap()}

    def _begin(self, progress: Progress) -> None:
        """Choose the epoch's anchor; what the last epoch left in the buffers is there after a resumption too."""
        anchor = self._scheduled(progress.epoch, progress.epochs)
        if self.schedule == "greedy":
            reached = bool(self.gap[1]) and self._mean_gap() <= self.delta
            anchor = max(anchor, min(self._anchor_index() + reached, len(self.route) - 1))
        if self._epoch is None or anchor != self._anchor_index():
            self.teacher.load_epoch(self.route[anchor])
        self.anchor.fill_(anchor)
        self.gap.zero_()
        self._epoch = progress.epoch

    def _scheduled(self, epoch: int, epochs: int) -> int:
        """Index of the anchor by the schedule. With fewer epochs than anchors some are left out, never the last."""
        last = len(self.route) - 1
        if len(self.route) <= epochs:
            return epoch * len(self.route) // epochs
        return last - (epochs - 1 - epoch) * last // max(1, epochs - 1)

    def _anchor_index(self) -> int:
        """Index of the anchor in the route, from 0."""
        return round(float(self.anchor))

    def _mean_gap(self) -> float:
        total, batches = map(float, self.gap)
        return total / max(1.0, batches)


def _checked_route(route: list[int] | None, kept: list[int]) -> list[int]:
    if not kept:
        raise UsageError("rco follows the epochs that a teacher's run has kept; train it with training.keep_every")
    if route is None:
        return kept
    for epoch in route:
        if epoch not in kept:
            raise UsageError(f"rco: route names epoch {epoch}; the teacher's run kept {', '.join(map(str, kept))}")
    if sorted(set(route)) != route:
        raise UsageError(f"rco: route is {route}; name each epoch once, the earliest first")
    return route
