import math

import pytest
import torch
from exit_outputs import SETTING, START, C, K, batch_of, first_class, gradient_to_class_0, log3_logits, make_outputs
from torch.nn import functional as F

from edgemate.distillation import Setting
from edgemate.distillation.methods.dks import DKS
from edgemate.distillation.terms import kl_to
from edgemate.models import ExitOutputs


def test_a_two_exit_example() -> None:
    logits = log3_logits(0, 1)  # class 0 has .5 and .75
    loss = DKS(Setting(2, 2, (1, 1)))(ExitOutputs(logits, ()), first_class(), START)
    assert loss.terms["labels"].item() == pytest.approx(math.log(2) + math.log(4 / 3))
    second_to_first = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    first_to_second = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert loss.terms["other_exits"].item() == pytest.approx(second_to_first + first_to_second)
    # (.5 − 1) + (.5 − .75) and (.75 − 1) + (.75 − .5): each exit as a student only.
    assert gradient_to_class_0(logits, loss.total) == pytest.approx([-0.75, 0.0], abs=1e-7)


@pytest.mark.parametrize(("temperature", "weight"), [(1.0, 1.0), (3.0, 0.5)])
def test_every_ordered_pair_counts_once_with_a_constant_target(temperature: float, weight: float) -> None:
    outputs, labels = make_outputs(1, requires_grad=True)
    loss = DKS(SETTING, temperature=temperature, weight=weight)(outputs, batch_of(labels), START)
    loss.total.backward()
    logits = make_outputs(1, requires_grad=True)[0].logits
    pairs = [
        kl_to(logits[:, j : j + 1].detach(), logits[:, k : k + 1], temperature).sum()
        for k in range(K)
        for j in range(K)
        if j != k
    ]
    expected = sum(F.cross_entropy(logits[:, k], labels) for k in range(K)) + weight * torch.stack(pairs).sum()
    torch.testing.assert_close(loss.total, expected)
    expected.backward()
    torch.testing.assert_close(outputs.logits.grad, logits.grad)


def test_exits_that_agree_have_nothing_to_learn_from_each_other() -> None:
    outputs, labels = make_outputs(2)
    same = outputs._replace(logits=outputs.logits[:, :1].expand(-1, K, -1))
    assert DKS(SETTING)(same, batch_of(labels), START).terms["other_exits"].item() == pytest.approx(0, abs=1e-5)


def test_one_exit_alone_learns_from_labels() -> None:
    outputs, labels = make_outputs(4)
    alone = ExitOutputs(outputs.logits[:, :1], outputs.pooled[:1])
    loss = DKS(Setting(1, C, (5,)))(alone, batch_of(labels), START)
    torch.testing.assert_close(loss.total, F.cross_entropy(outputs.logits[:, 0], labels))
