"""ProKT by hand: the teacher's step, then the exits' under the teacher after it."""

import math

import pytest
import torch
from exit_outputs import START, first_class, gradient_to_class_0, log3_logits
from teachers import Fixed, two_class_setting

from edgemate.distillation import Progress
from edgemate.distillation.methods.prokt import ProKT
from edgemate.models import ExitOutputs


def probability(step: float) -> float:
    """Of class 0 for logits (step, −step)."""
    return 1 / (1 + math.exp(-2 * step))


def teacher_logits(method: ProKT) -> torch.Tensor:
    return method.teacher.network.logits.detach().clone()  # type: ignore[union-attr, operator]


def test_the_exits_learn_from_the_teacher_after_its_step() -> None:
    # Exits say .9 and .5 of class 0, on average .7; the teacher .5 before its step.
    logits = log3_logits(2, 0)
    method = ProKT(two_class_setting(2, Fixed(0, 0)), proximity=0.4, teacher_lr=1)
    loss = method(ExitOutputs(logits, ()), first_class(), START)
    step = 0.6 * (1 - 0.5) + 0.4 * (0.7 - 0.5)
    torch.testing.assert_close(teacher_logits(method), torch.tensor([step, -step]))
    after = probability(step)
    divergence = sum(after * math.log(after / p) + (1 - after) * math.log((1 - after) / (1 - p)) for p in (0.9, 0.5))
    assert loss.total.item() == pytest.approx(divergence)
    assert gradient_to_class_0(logits, loss.total) == pytest.approx([0.9 - after, 0.5 - after], rel=1e-5)
    assert loss.terms["teacher_labels"] == pytest.approx(math.log(2))
    assert loss.terms["teacher_gap"] == pytest.approx(0.7 * math.log(0.7 / 0.5) + 0.3 * math.log(0.3 / 0.5))


def test_nothing_of_the_exits_loss_reaches_the_teacher() -> None:
    logits = log3_logits(2, 0)
    method = ProKT(two_class_setting(2, Fixed(0, 0)), teacher_lr=1)
    loss = method(ExitOutputs(logits, ()), first_class(), START)
    before = teacher_logits(method)
    loss.total.backward()
    assert all(parameter.grad is None for parameter in method.parameters())
    assert torch.equal(teacher_logits(method), before)


def test_the_recipes_own_teacher_is_left_alone() -> None:
    setting = two_class_setting(1, Fixed(0, 0))
    method = ProKT(setting, teacher_lr=1)
    method(ExitOutputs(log3_logits(0), ()), first_class(), START)
    assert setting.teacher is not None
    assert not setting.teacher.network.logits.any()  # type: ignore[union-attr, operator]
    assert teacher_logits(method).any()


def test_exits_without_the_teacher_learn_labels_and_do_not_move_it() -> None:
    logits = log3_logits(2, 0)
    method = ProKT(two_class_setting(2, Fixed(0, 0)), proximity=0.4, teacher_lr=1, exits="final")
    loss = method(ExitOutputs(logits, ()), first_class(), START)
    after = probability(0.6 * 0.5)
    assert gradient_to_class_0(logits, loss.total) == pytest.approx([0.9 - 1, 0.5 - after], rel=1e-5)


def test_the_dual_form_lets_beta_follow_the_distance() -> None:
    logits = log3_logits(2)
    method = ProKT(two_class_setting(1, Fixed(0, 0)), proximity=0.5, teacher_lr=1, dual=True, epsilon=0.1)
    assert method.beta == 1
    method(ExitOutputs(logits, ()), first_class(), START)
    step = (1 - 0.5) + 1 * (0.9 - 0.5)
    torch.testing.assert_close(teacher_logits(method), torch.tensor([step, -step]))
    gap = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    assert method.report()["beta"] == pytest.approx(1 + 1e-3 * (gap - 0.1))
    method = ProKT(two_class_setting(1, Fixed(0, 0)), proximity=0.2, dual=True, epsilon=1, dual_rate=10)
    method(ExitOutputs(logits, ()), first_class(), START)
    assert method.beta == 0


def test_the_teachers_rate_falls_to_nothing() -> None:
    method = ProKT(two_class_setting(1, Fixed(0, 0)), proximity=0, teacher_lr=1)
    halfway = Progress(5, 10, 0.5)
    method(ExitOutputs(log3_logits(0), ()), first_class(), halfway)
    assert teacher_logits(method)[0] == pytest.approx(0.25)
    method = ProKT(two_class_setting(1, Fixed(0, 0)), proximity=0, teacher_lr=1)
    method(ExitOutputs(log3_logits(0), ()), first_class(), Progress(10, 10, 1.0))
    assert not teacher_logits(method).any()


def test_its_optimizer_has_the_teachers_weights_and_momentum_to_keep() -> None:
    method = ProKT(two_class_setting(1, Fixed(0, 0)))
    method(ExitOutputs(log3_logits(0), ()), first_class(), START)
    (optimizer,) = method.optimizers()
    assert [one for group in optimizer.param_groups for one in group["params"]] == list(method.parameters())
    assert optimizer.state_dict()["state"][0]["momentum_buffer"].abs().sum() > 0
    assert "teacher.learner.logits" in method.state_dict()
