import math

import pytest
import torch
from exit_outputs import SETTING, START, C, K, batch_of, first_class, gradient_to_class_0, log3_logits, make_outputs
from torch.nn import functional as F

from edgemate.distillation import Setting
from edgemate.distillation.methods.beed import BEED
from edgemate.distillation.methods.eed import EED
from edgemate.distillation.methods.mate import MATE
from edgemate.errors import UsageError
from edgemate.models import ExitOutputs


def test_a_two_exit_example() -> None:
    logits = log3_logits(-2, 2)  # class 0 has .1 and .9
    pooled = (torch.tensor([[1.0, -1.0]], requires_grad=True), torch.tensor([[3.0, -2.0]], requires_grad=True))
    method = BEED(Setting(2, 2, (2, 2)), balance=1.5, importance=3.0, temperature=1.0, features_weight=0.4)
    loss = method(ExitOutputs(logits, pooled), first_class(), START)
    # z̄ = (¼ · −2 + ¾ · 2) log 3 = log 3, so class 0 has .75 there; labels weigh .5 and 1, the teacher 1.5 and 1.
    assert loss.terms["labels"].item() == pytest.approx(0.5 * math.log(10) + math.log(10 / 9))
    to_first = 0.75 * math.log(0.75 / 0.1) + 0.25 * math.log(0.25 / 0.9)
    to_second = 0.75 * math.log(0.75 / 0.9) + 0.25 * math.log(0.25 / 0.1)
    assert loss.terms["ensemble"].item() == pytest.approx(1.5 * to_first + to_second)
    # f̄ = (¼ · 1 + ¾ · 3, …) = (2.5, …); the second place is positive nowhere.
    assert loss.terms["features"].item() == pytest.approx(0.4 * (1.5**2 + 0.5**2) / 2)
    expected = [0.5 * (0.1 - 1) + 1.5 * (0.1 - 0.75), (0.9 - 1) + (0.9 - 0.75)]
    assert gradient_to_class_0(logits, loss.total) == pytest.approx(expected, abs=1e-6)
    for feature, gradient in zip(pooled, (0.4 * -1.5, 0.4 * 0.5), strict=True):
        assert feature.grad is not None
        assert feature.grad.tolist() == [[pytest.approx(gradient), 0.0]]


def test_the_teacher_is_mates_geometric_one() -> None:
    for seed in range(5):
        logits = make_outputs(seed)[0].logits
        mate = MATE(SETTING, weights="geometric").teachers(logits)
        torch.testing.assert_close(BEED(SETTING).teachers(logits).expand(-1, K, -1), mate, rtol=0, atol=1e-6)


def test_without_balance_and_importance_it_is_eeds_kl_form() -> None:
    outputs, labels = make_outputs(3)
    beed = BEED(SETTING, balance=1, importance=1, features_weight=1)(outputs, batch_of(labels), START)
    eed = EED(SETTING, logits="kl", logits_weight=1)(outputs, batch_of(labels), START)
    assert {name: term.item() for name, term in beed.terms.items()} == {
        name: pytest.approx(term.item(), rel=1e-5) for name, term in eed.terms.items()
    }


def test_four_exits_have_the_authors_weights() -> None:
    method = BEED(Setting(4, C, (5,) * 4))
    assert method.fractions.tolist() == pytest.approx([1.15**3, 1.15**2, 1.15, 1.0])
    assert method.weights[0].tolist() == pytest.approx([w / 9.256 for w in (1, 1.6, 2.56, 4.096)])


def test_no_exit_is_pushed_away_from_its_labels() -> None:
    with pytest.raises(
        UsageError, match=r"2 − 1\.15\^5, is negative; .* distillation\.options\.balance to 1\.14 or less"
    ):
        BEED(Setting(6, C, (5,) * 6))
    BEED(Setting(6, C, (5,) * 6), balance=1.14)


def test_features_need_equal_widths() -> None:
    with pytest.raises(UsageError, match=r"widths are 2, 4: use a head .* distillation\.options\.features_weight: 0"):
        BEED(Setting(2, C, (2, 4)))
    assert (
        "features"
        not in BEED(Setting(2, C, (2, 4)), features_weight=0)(
            ExitOutputs(log3_logits(0, 1), ()), first_class(), START
        ).terms
    )


def test_one_exit_alone_is_its_own_teacher() -> None:
    outputs, labels = make_outputs(4)
    loss = BEED(Setting(1, C, (5,)))(ExitOutputs(outputs.logits[:, :1], outputs.pooled[:1]), batch_of(labels), START)
    torch.testing.assert_close(loss.total, F.cross_entropy(outputs.logits[:, 0], labels))
