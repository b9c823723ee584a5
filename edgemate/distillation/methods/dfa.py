"""`dfa`: Differentiable Feature Aggregation search (Guan et al., ECCV 2020, arXiv 2008.00506).

Which of the teacher's feature maps an exit should imitate is searched for, then imitated. Known to us from the
abstract: two stages, bridge losses from student to teacher and from teacher to student, weights searched in DARTS's two
levels. The rest is **our reconstruction**: a group is formed per exit, of the teacher's maps at the same depth in
halvings and of the same width; connectors are 1×1 convolutions with batch normalization; a bridge ends in the other
network's last exit; the two levels are the two halves of every batch (of two or three images both are the whole), by
gradients of first order; exits learn from labels all the while; and the student continues from the search instead of
starting again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from edgemate.config import Tune
from edgemate.distillation.method import Batch, Loss, Method, Progress, Setting
from edgemate.distillation.teachers.networks import RunNetwork
from edgemate.distillation.teachers.teacher import Exits, Teacher, first_student_exit
from edgemate.distillation.terms import cross_entropies
from edgemate.errors import UsageError
from edgemate.models import ExitOutputs, Features, MultiExitModel


class DFA(Method):
    """Stage 1 searches a_k, stage 2 pulls the exits' maps f_k to the teacher's g_k = Σ_j softmax(a_k)_j t_j.

        stage 1     Σ_k CE(z_k, y) + CE(teacher after C_k f_k, y) + CE(student after B_k g_k, y)
        stage 2     Σ_k CE(z_k, y) + β · mean (C_k f_k − g_k)²

    t_j are the maps of exit k's group, C_k and B_k the connectors to the teacher's and to the student's width. The
    bridges of stage 1 train student and connectors on one half of the batch, with a held; on the other half the last
    one trains a alone. No gradient reaches the teacher.

    Args:
        setting: what it is built for.
        beta: β.
        search_fraction: fraction of the training that is stage 1.
        exits: which learn from the teacher, `all` or the `final` one.

    Raises:
        UsageError: the recipe names no teacher, or its blocks cannot be run one by one: it is not a run, or passes
            several maps at once.
    """

    needs_teacher = True
    weighs_classes = True
    keeps_state = True

    def __init__(
        self,
        setting: Setting,
        *,
        beta: Annotated[float, Field(ge=0), Tune(0.1, 10.0, log=True)] = 1.0,
        search_fraction: Annotated[float, Field(ge=0, lt=1), Tune(0.1, 0.5)] = 0.3,
        exits: Exits = "all",
    ) -> None:
        super().__init__(setting)
        self.beta, self.search_fraction = beta, search_fraction
        self.first = first_student_exit(exits, setting.exits)
        self.teacher = setting.require_teacher("dfa")
        shapes = _map_shapes(_run_network(self.teacher), self.teacher.shape)
        taps = setting.taps[self.first :]
        self.groups = [_group(shapes, tap.reductions) for tap in taps]
        widths = [shapes[group[-1]][0] for group in self.groups]
        self.scores = nn.ParameterList(torch.zeros(len(group)) for group in self.groups)
        self.to_teacher = nn.ModuleList(_connector(tap.channels, d) for tap, d in zip(taps, widths, strict=True))
        self.to_student = nn.ModuleList(_connector(d, tap.channels) for tap, d in zip(taps, widths, strict=True))
        # In a tuple, so that the network that is trained is not a submodule.
        self._trained: tuple[MultiExitModel, ...] = ()

    def bind(self, model: MultiExitModel) -> None:
        """Know the network, through whose later stages the teacher's maps are sent."""
        self._trained = (model,)

    def at_cut(self, exit: int, features: Features) -> tuple[Features, Features]:
        """Refuse backbones that pass several maps, since later stages are run on one."""
        if set(features) != {"features"}:
            raise UsageError("dfa runs stages on one feature map, and this backbone passes several; use another method")
        return features, features

    @property
    def label_weight(self) -> float:
        """1 at every exit."""
        return 1.0

    def forward(self, outputs: ExitOutputs, batch: Batch, progress: Progress) -> Loss:
        """The terms of the stage that the training is in, and their sum."""
        labels = self.hard_labels(outputs.logits, batch.labels).sum()
        maps = outputs.maps[self.first :]
        with self.teacher.autocast_for(batch.images):
            found = self._teacher_maps(batch.images)
            if progress.fraction < self.search_fraction:
                terms, search = self._bridges(maps, found, batch.labels)
            else:
                terms, search = {"features": self._distance(maps, found)}, labels.new_zeros(())
        terms = {"labels": labels, **terms}
        total = torch.stack(list(terms.values())).sum() + search
        return Loss(total, {name: term.detach() for name, term in terms.items()})

    def weights(self) -> list[Tensor]:
        """Per student exit the weights of its group's maps, softmax(a_k)."""
        return [F.softmax(scores, 0) for scores in self.scores]

    def report(self) -> dict[str, float]:
        """Weight of every block of the teacher's for every exit, both counted from 1."""
        return {
            f"exit{exit}_block{block + 1}": weight
            for exit, (group, weights) in enumerate(zip(self.groups, self.weights(), strict=True), self.first + 1)
            for block, weight in zip(group, weights.tolist(), strict=True)
        }

    def _bridges(
        self, maps: tuple[Tensor, ...], found: list[Tensor], labels: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The terms that train student and connectors, and what is 0 but has the gradient of a."""
        # Half of two or three images would be one, of which batch normalization may have no variance.
        taught, held = (slice(0, None, 2), slice(1, None, 2)) if len(labels) > 3 else (slice(None), slice(None))
        to_teacher, to_student, held_out = [], [], []
        for k, (own, theirs) in enumerate(zip(maps, found, strict=True)):
            asked = self._teacher_after(k, _resized(self.to_teacher[k](own[taught]), theirs))
            to_teacher.append(self._own_labels(asked.float(), labels[taught]))
            to_student.append(self._own_labels(self._student_after(k, theirs[taught].detach(), own), labels[taught]))
            held_out.append(self._own_labels(self._student_after(k, theirs[held], own), labels[held]))
        scores = list(self.scores)
        gradients = torch.autograd.grad(torch.stack(held_out).sum(), scores)
        pull = torch.stack([(a * gradient).sum() for a, gradient in zip(scores, gradients, strict=True)]).sum()
        terms = {"to_teacher": torch.stack(to_teacher).sum(), "to_student": torch.stack(to_student).sum()}
        return terms, pull - pull.detach()

    def _own_labels(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of logits (N, C), without label smoothing."""
        return cross_entropies(logits.unsqueeze(1), labels, 0.0, self._class_weights).sum()

    def _distance(self, maps: tuple[Tensor, ...], found: list[Tensor]) -> Tensor:
        """β Σ_k mean (C_k f_k − g_k)²."""
        squares = [
            F.mse_loss(_resized(connect(own), theirs).float(), theirs.detach())
            for connect, own, theirs in zip(self.to_teacher, maps, found, strict=True)
        ]
        return self.beta * torch.stack(squares).sum()

    def _teacher_maps(self, images: Tensor) -> list[Tensor]:
        """g_k of every student exit, float32 (N, D, H, W)."""
        blocks = _run_network(self.teacher).blocks[: max(group[-1] for group in self.groups) + 1]
        maps: list[Tensor] = []
        with torch.no_grad():
            features: Features = {"image": self.teacher.renormalize_images(images)}
            for block in blocks:
                features = block(features)
                maps.append(features["features"].float())
        return [
            torch.einsum("j,jndhw->ndhw", weights, torch.stack([maps[j] for j in group]))
            for weights, group in zip(self.weights(), self.groups, strict=True)
        ]

    def _teacher_after(self, k: int, feature_map: Tensor) -> Tensor:
        """The teacher's logits when its k-th group ends in that map."""
        network = _run_network(self.teacher)
        features: Features = {"features": feature_map}
        for block in network.blocks[self.groups[k][-1] + 1 :]:
            features = block(features)
        return network.classify(features)

    def _student_after(self, k: int, theirs: Tensor, own: Tensor) -> Tensor:
        """The last exit's logits, float32, when the k-th student exit's stage ends in the teacher's map."""
        assert self._trained, "bind() comes before the first step"
        (model,) = self._trained
        features: Features = {"features": _resized(self.to_student[k](theirs), own)}
        with _statistics_kept(model):
            for stage in model.stages[self.first + k + 1 :]:
                features = stage(features)
            logits: Tensor = model.heads[-1](features)[0]
        return logits.float()


def _run_network(teacher: Teacher) -> RunNetwork:
    if not isinstance(teacher.network, RunNetwork):
        raise UsageError("dfa runs its teacher block by block, which needs a run's network; name a run")
    return teacher.network


def _map_shapes(network: RunNetwork, shape: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """(D, H, W) of the map after each of the teacher's blocks."""
    shapes = []
    features: Features = {"image": torch.zeros(1, *shape)}
    with torch.no_grad():
        for block in network.blocks:
            features = block(features)
            if set(features) != {"features"}:
                raise UsageError("dfa needs a teacher that passes one feature map from block to block; name another")
            _, channels, height, width = features["features"].shape
            shapes.append((channels, height, width))
    return shapes


def _group(shapes: list[tuple[int, int, int]], reductions: int) -> list[int]:
    """The blocks at that many halvings from the end, or at the nearest number, of the width of the last of them."""
    left = [round(shape[1] / shapes[-1][1]).bit_length() - 1 for shape in shapes]
    nearest = min(left, key=lambda number: abs(number - reductions))
    last = max(j for j, number in enumerate(left) if number == nearest)
    return [j for j, number in enumerate(left) if number == nearest and shapes[j][0] == shapes[last][0]]


def _connector(channels: int, wanted: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, wanted, 1, bias=False), nn.BatchNorm2d(wanted))


def _resized(feature_map: Tensor, like: Tensor) -> Tensor:
    """As high and wide as the other, by the mean of what falls into a place."""
    size = (like.shape[-2], like.shape[-1])
    return feature_map if feature_map.shape[-2:] == size else F.adaptive_avg_pool2d(feature_map, size)


@contextmanager
def _statistics_kept(model: MultiExitModel) -> Iterator[None]:
    """Normalize by the batch's statistics, as training does, and leave those that evaluation uses as they are."""
    tracking = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    try:
        for module in tracking:
            module.track_running_stats = False
        yield
    finally:
        for module in tracking:
            module.track_running_stats = True
