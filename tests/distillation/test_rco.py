"""RCO: whose turn it is, epoch by epoch, and that the teacher is then the one of that epoch."""

from pathlib import Path

import pytest
import torch
from exit_outputs import make_outputs
from teachers import LinearNetwork, images_of, taught_by
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from edgemate.distillation import Progress, Setting
from edgemate.distillation.methods.kd import KD
from edgemate.distillation.methods.rco import RCO
from edgemate.errors import UsageError
from edgemate.runs import write_tensors

KEPT = (2, 5, 9)


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    route = {epoch: tmp_path / f"epoch_{epoch}.safetensors" for epoch in KEPT}
    for epoch, path in route.items():
        write_tensors(path, LinearNetwork(seed=epoch).state_dict())
    return taught_by(LinearNetwork(seed=99), route=route)


def anchors_of(method: RCO, epochs: int, first: int = 0) -> list[float]:
    """Anchor of every epoch, of two batches each."""
    outputs, labels = make_outputs()
    found = []
    for epoch in range(first, epochs):
        for batch in range(2):
            method(outputs, images_of(labels), Progress(epoch, epochs, (epoch + batch / 2) / epochs))
        found.append(method.report()["anchor"])
    return found


def test_every_anchor_has_its_equal_interval(setting: Setting) -> None:
    assert anchors_of(RCO(setting), 9) == [2, 2, 2, 5, 5, 5, 9, 9, 9]
    assert anchors_of(RCO(setting), 4) == [2, 2, 5, 9]
    assert anchors_of(RCO(setting, route=[5, 9]), 5) == [5, 5, 5, 9, 9]


def test_with_fewer_epochs_than_anchors_the_last_ones_are_taught_by_the_mature_teacher(setting: Setting) -> None:
    assert anchors_of(RCO(setting), 2) == [2, 9]
    assert anchors_of(RCO(setting), 1) == [9]


def test_the_loss_is_kds_under_the_teacher_of_the_anchors_epoch(setting: Setting) -> None:
    outputs, labels = make_outputs()
    batch = images_of(labels)
    method = RCO(setting, temperature=2, alpha=0.3, exits="final")
    for epoch, anchor in ((0, 2), (1, 5), (2, 9)):
        progress = Progress(epoch, 3, epoch / 3)
        kd = KD(taught_by(LinearNetwork(seed=anchor)), temperature=2, alpha=0.3, exits="final")
        assert method(outputs, batch, progress).total == kd(outputs, batch, progress).total
    assert setting.teacher is not None
    assert torch.equal(setting.teacher.network.classifier.weight, LinearNetwork(seed=99).classifier.weight)  # type: ignore[union-attr, operator]


def test_an_average_of_the_weights_reports_the_anchor_that_it_averages_over(setting: Setting) -> None:
    method = RCO(setting)
    averaged = AveragedModel(method, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    outputs, labels = make_outputs()
    for epoch in (8, *[9] * 100):
        method(outputs, images_of(labels), Progress(epoch, 10, epoch / 10))
        averaged.update_parameters(method)
    assert averaged.module.report()["anchor"] == method.report()["anchor"] == 9


def test_the_greedy_schedule_moves_on_once_the_last_exit_is_near(setting: Setting) -> None:
    assert anchors_of(RCO(setting, schedule="greedy", delta=1e9), 6) == [2, 5, 9, 9, 9, 9]
    assert anchors_of(RCO(setting, schedule="greedy", delta=1e-9), 6) == [2, 2, 5, 5, 9, 9]


def test_the_gap_is_the_epochs_mean_divergence_of_the_last_exit(setting: Setting) -> None:
    outputs, labels = make_outputs()
    method = RCO(setting)
    divergences = []
    for seed in range(2):
        batch = images_of(labels, seed)
        target = LinearNetwork(seed=2)(batch.images)[0].log_softmax(-1)
        divergences.append((target.exp() * (target - outputs.logits[:, -1].log_softmax(-1))).sum(-1).mean().item())
        method(outputs, batch, Progress(0, 3, 0.0))
    assert method.report()["gap"] == pytest.approx(sum(divergences) / 2, rel=1e-5)


def test_a_resumed_route_continues_where_it_was(setting: Setting) -> None:
    whole = RCO(setting, schedule="greedy", delta=2)
    expected = anchors_of(whole, 6)
    begun = RCO(setting, schedule="greedy", delta=2)
    outputs, labels = make_outputs()
    for epoch in range(2):
        for batch in range(2):
            begun(outputs, images_of(labels), Progress(epoch, 6, (epoch + batch / 2) / 6))
    resumed = RCO(setting, schedule="greedy", delta=2)
    resumed.load_state_dict(begun.state_dict())
    assert anchors_of(resumed, 6, first=2) == expected[2:]
    assert resumed.report() == whole.report()


@pytest.mark.parametrize(
    ("route", "message"),
    [([2, 4], "route names epoch 4; the teacher's run kept 2, 5, 9"), ([5, 2], "the earliest first"), ([5, 5], "once")],
)
def test_a_route_that_cannot_be_followed_is_refused(setting: Setting, route: list[int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RCO(setting, route=route)


def test_a_teacher_that_kept_no_epochs_has_no_route() -> None:
    with pytest.raises(UsageError, match=r"train it with training\.keep_every"):
        RCO(taught_by(LinearNetwork()))
