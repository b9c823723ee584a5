"""KD and WSL by hand: which exit learns what from labels and from the teacher, and that the teacher learns nothing."""

import math

import pytest
import torch
from exit_outputs import START, first_class, gradient_to_class_0, log3_logits, make_outputs
from teachers import Fixed, LinearNetwork, images_of, taught_by, two_class_setting

from edgemate.distillation import Method
from edgemate.distillation.methods.kd import KD
from edgemate.distillation.methods.wsl import WSL, soft_label_weights
from edgemate.models import ExitOutputs

LOG3 = math.log(3)


def test_kd_mixes_labels_and_teacher_at_every_exit() -> None:
    logits = log3_logits(0, 1)
    method = KD(two_class_setting(2, Fixed(2 * LOG3, 0)), temperature=1, alpha=0.5)
    loss = method(ExitOutputs(logits, ()), first_class(), START)
    hard = 0.5 * (math.log(2) + math.log(4 / 3))
    soft = 0.5 * sum(0.9 * math.log(0.9 / p) + 0.1 * math.log(0.1 / (1 - p)) for p in (0.5, 0.75))
    assert loss.terms["labels"] == pytest.approx(hard)
    assert loss.terms["teacher"] == pytest.approx(soft)
    assert loss.total.item() == pytest.approx(hard + soft)
    # half of p − 1, half of p − q, with p .5 and .75, q .9
    assert gradient_to_class_0(logits, loss.total) == pytest.approx([-0.45, -0.2])


def test_kds_temperature_softens_both_and_weighs_its_square() -> None:
    logits = log3_logits(0, 2)
    method = KD(two_class_setting(2, Fixed(4 * LOG3, 0)), temperature=2, alpha=1)
    loss = method(ExitOutputs(logits, ()), first_class(), START)
    assert gradient_to_class_0(logits, loss.total) == pytest.approx([2 * (0.5 - 0.9), 2 * (0.75 - 0.9)])


def test_the_teacher_may_be_for_the_final_exit_only() -> None:
    logits = log3_logits(0, 1)
    method = KD(two_class_setting(2, Fixed(2 * LOG3, 0)), temperature=1, alpha=0.5, exits="final")
    loss = method(ExitOutputs(logits, ()), first_class(), START)
    assert gradient_to_class_0(logits, loss.total) == pytest.approx([-0.5, -0.2])


def test_soft_labels_weigh_by_how_far_the_exit_is_behind() -> None:
    labels = torch.tensor([0])
    even = torch.zeros(1, 1, 2)
    for logits, ratio in ((even, 1.0), (log3_logits(1).detach(), math.log(4 / 3) / math.log(2))):
        assert soft_label_weights(even, logits, labels).item() == pytest.approx(1 - math.exp(-ratio))
    sure = torch.tensor([[[200.0, 0.0]]])
    assert soft_label_weights(sure, even, labels).item() == 1
    assert soft_label_weights(sure, sure, labels).item() == 0
    assert soft_label_weights(even, -sure, labels).item() == 1


def test_wsl_adds_weighted_soft_labels_to_the_labels() -> None:
    logits = log3_logits(0, 1)
    method = WSL(two_class_setting(2, Fixed(2 * LOG3, 0)), temperature=1, alpha=2)
    loss = method(ExitOutputs(logits, ()), first_class(), START)
    weights = [1 - math.exp(-math.log(p) / math.log(0.9)) for p in (0.5, 0.75)]
    expected = [p - 1 + 2 * w * (p - 0.9) for p, w in zip((0.5, 0.75), weights, strict=True)]
    assert gradient_to_class_0(logits, loss.total) == pytest.approx(expected, rel=1e-5)
    final = log3_logits(0, 1)
    method = WSL(two_class_setting(2, Fixed(2 * LOG3, 0)), temperature=1, alpha=2, exits="final")
    loss = method(ExitOutputs(final, ()), first_class(), START)
    assert gradient_to_class_0(final, loss.total) == pytest.approx([-0.5, expected[1]], rel=1e-5)


def test_wsls_temperature_softens_both_and_weighs_its_square() -> None:
    logits = log3_logits(2)
    method = WSL(two_class_setting(1, Fixed(4 * LOG3, 0)), temperature=2, alpha=1)
    loss = method(ExitOutputs(logits, ()), first_class(), START)
    weight = soft_label_weights(log3_logits(4).detach(), logits.detach(), torch.tensor([0])).item()
    assert gradient_to_class_0(logits, loss.total) == pytest.approx([0.9 - 1 + 2 * weight * (0.75 - 0.9)], rel=1e-5)


@pytest.mark.parametrize("method_class", [KD, WSL])
def test_the_teacher_never_changes(method_class: type[Method]) -> None:
    network = LinearNetwork()
    before = network.classifier.weight.clone()
    method = method_class(taught_by(network)).train()
    outputs, labels = make_outputs(requires_grad=True)
    method(outputs, images_of(labels), START).total.backward()
    assert torch.equal(network.classifier.weight, before)
    assert network.classifier.weight.grad is None
    assert outputs.logits.grad is not None
    assert all(feature.grad is None for feature in outputs.pooled)


@pytest.mark.parametrize("method_class", [KD, WSL])
def test_the_teacher_is_asked_of_the_images_of_the_batch(method_class: type[Method]) -> None:
    outputs, labels = make_outputs()
    method = method_class(taught_by(LinearNetwork()))
    one, other = (method(outputs, images_of(labels, seed), START).terms["teacher"] for seed in (0, 1))
    assert one != other
