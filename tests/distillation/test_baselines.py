"""Joint CE, BYOT and EED against examples worked out by hand, and what each term moves."""

import math

import pytest
import torch
from exit_outputs import SETTING, START, C, K, batch_of, first_class, gradient_to_class_0, log3_logits, make_outputs
from torch.nn import functional as F

from edgemate.distillation import Setting
from edgemate.distillation.methods.byot import BYOT
from edgemate.distillation.methods.eed import EED
from edgemate.distillation.methods.joint_ce import JointCE
from edgemate.distillation.terms import masked_squares
from edgemate.errors import UsageError
from edgemate.models import ExitOutputs

UNEQUAL = Setting(exits=K, classes=C, pooled_widths=(2, 4, 8))


def test_joint_ce_is_the_weighted_sum_of_cross_entropies() -> None:
    (logits, pooled, _), labels = make_outputs()
    each = [F.cross_entropy(logits[:, k], labels) for k in range(K)]
    assert JointCE(SETTING)(ExitOutputs(logits, pooled), batch_of(labels), START).total == pytest.approx(
        float(sum(each))
    )
    weighted = JointCE(SETTING, weights=[0.5, 0, 2])(ExitOutputs(logits, pooled), batch_of(labels), START).total
    assert weighted == pytest.approx(float(0.5 * each[0] + 2 * each[2]))


def test_joint_ce_moves_every_exit_by_its_own_labels() -> None:
    logits = log3_logits(0, 1)  # class 0 has .5 and .75
    loss = JointCE(Setting(2, 2, (1, 1)), weights=[1, 2])(ExitOutputs(logits, ()), first_class(), START)
    assert gradient_to_class_0(logits, loss.total) == pytest.approx([0.5 - 1, 2 * (0.75 - 1)])


def test_joint_ce_needs_a_weight_per_exit() -> None:
    with pytest.raises(UsageError, match="2 weights for 3 exits"):
        JointCE(SETTING, weights=[1, 1])


def test_label_smoothing_reaches_the_hard_labels() -> None:
    (logits, pooled, _), labels = make_outputs()
    method = JointCE(Setting(K, C, (5,) * K, label_smoothing=0.2))
    expected = sum(F.cross_entropy(logits[:, k], labels, label_smoothing=0.2) for k in range(K))
    assert method(ExitOutputs(logits, pooled), batch_of(labels), START).total == pytest.approx(float(expected))


def test_byot_of_a_two_exit_example() -> None:
    logits = torch.tensor([[[0.0, 0.0], [torch.log(torch.tensor(3.0)), 0.0]]])
    pooled = (torch.tensor([[1.0, -1.0]]), torch.tensor([[3.0, -2.0]]))
    method = BYOT(Setting(2, 2, (2, 2)), alpha=0.5, temperature=1.0, beta=0.25)
    loss = method(ExitOutputs(logits, pooled), batch_of(torch.tensor([0])), START)
    log2, log43 = torch.log(torch.tensor(2.0)), torch.log(torch.tensor(4 / 3))
    assert loss.terms["labels"] == pytest.approx(float(0.5 * (log2 + log43)))
    assert loss.terms["last_exit"] == pytest.approx(float(0.5 * log2))  # uniform student: cross-entropy log 2
    assert loss.terms["features"] == pytest.approx(0.25 * 4.0)  # only the first place is positive somewhere


def test_what_byot_moves_at_temperature_2() -> None:
    logits = log3_logits(0, 2)  # class 0 has .5 and .9, and .5 and .75 at T = 2
    pooled = (torch.tensor([[1.0, -1.0]], requires_grad=True), torch.tensor([[3.0, -2.0]], requires_grad=True))
    method = BYOT(Setting(2, 2, (2, 2)), alpha=0.5, temperature=2.0, beta=0.25)
    loss = method(ExitOutputs(logits, pooled), first_class(), START)
    assert loss.terms["last_exit"].item() == pytest.approx(0.5 * 4 * math.log(2))
    # T² / T = 2. Exit 1: .5 (.5 − 1) from the labels, .5 · 2 (.5 − .75) from exit 2. Exit 2: .5 (.9 − 1), labels alone.
    assert gradient_to_class_0(logits, loss.total) == pytest.approx([-0.25 - 0.25, -0.05], abs=1e-6)
    assert pooled[0].grad is not None
    assert pooled[0].grad.tolist() == [[pytest.approx(0.25 * 2 * (1 - 3)), 0.0]]
    assert pooled[1].grad is None


def test_byots_last_exit_learns_from_labels_alone() -> None:
    outputs, labels = make_outputs(1, requires_grad=True)
    BYOT(SETTING, beta=1.0)(outputs, batch_of(labels), START).total.backward()
    (logits, _, _), _ = make_outputs(1, requires_grad=True)
    (0.9 * F.cross_entropy(logits[:, -1], labels)).backward()
    assert outputs.logits.grad is not None
    assert logits.grad is not None
    torch.testing.assert_close(outputs.logits.grad[:, -1], logits.grad[:, -1])
    assert outputs.pooled[-1].grad is None
    assert outputs.pooled[0].grad is not None


def test_eed_pulls_every_exit_to_the_plain_mean() -> None:
    (logits, pooled, _), labels = make_outputs(2)
    loss = EED(SETTING)(ExitOutputs(logits, pooled), batch_of(labels), START)
    mean = logits.mean(1)
    expected = sum(F.mse_loss(logits[:, k], mean) for k in range(K))
    assert loss.terms["ensemble"] == pytest.approx(float(expected))
    average = torch.stack(pooled).mean(0)
    features = sum(masked_squares(feature, average).mean() for feature in pooled)
    assert loss.terms["features"] == pytest.approx(float(features))


def test_what_eed_moves() -> None:
    logits = log3_logits(0, 2)  # class 0 has .5 and .9, and .75 in their mean
    method = EED(Setting(2, 2, (1, 1)), logits="kl", logits_weight=0.4, temperature=1.0, features_weight=0)
    loss = method(ExitOutputs(logits, ()), first_class(), START)
    expected = [(0.5 - 1) + 0.4 * (0.5 - 0.75), (0.9 - 1) + 0.4 * (0.9 - 0.75)]
    assert gradient_to_class_0(logits, loss.total) == pytest.approx(expected, abs=1e-6)


def test_eeds_kl_form_weighs_a_tenth_of_t_squared() -> None:
    (logits, pooled, _), labels = make_outputs(3)
    loss = EED(SETTING, logits="kl", features_weight=0)(ExitOutputs(logits, pooled), batch_of(labels), START)
    target = F.softmax(logits.mean(1) / 3, -1)
    divergences = [F.kl_div(F.log_softmax(logits[:, k] / 3, -1), target, reduction="batchmean") for k in range(K)]
    assert loss.terms["ensemble"] == pytest.approx(float(0.1 * 9 * sum(divergences)))


def test_eeds_mean_is_a_constant_target() -> None:
    outputs, labels = make_outputs(4, requires_grad=True)
    method = EED(SETTING, logits_weight=7.0, features_weight=3.0)
    method(outputs, batch_of(labels), START).total.backward()
    (logits, pooled, _), _ = make_outputs(4, requires_grad=True)
    total = sum(F.cross_entropy(logits[:, k], labels) for k in range(K))
    mean, average = logits.mean(1).detach(), torch.stack(pooled).mean(0).detach()
    total = total + 7 * sum(F.mse_loss(logits[:, k], mean) for k in range(K))
    total = total + 3 * sum(masked_squares(feature, average).mean() for feature in pooled)
    assert isinstance(total, torch.Tensor)
    total.backward()
    torch.testing.assert_close(outputs.logits.grad, logits.grad)
    for ours, theirs in zip(outputs.pooled, pooled, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("method", [BYOT, EED])
def test_feature_terms_need_equal_widths_and_the_message_says_the_way_out(method: type) -> None:
    with pytest.raises(UsageError, match=r"widths are 2, 4, 8: use a head .* or set distillation\.options\.\w+: 0"):
        method(UNEQUAL)
    method(UNEQUAL, **({"beta": 0} if method is BYOT else {"features_weight": 0}))


def test_a_silent_feature_costs_nothing() -> None:
    feature, target = torch.tensor([-1.0, -1.0, 2.0]), torch.tensor([-3.0, 1.0, -1.0])
    assert masked_squares(feature, target).tolist() == [0.0, 4.0, 9.0]
