"""BoostNet's objective against an example worked out by hand, and which exit each term moves."""

import math

import pytest
import torch
from exit_outputs import SETTING, START, batch_of, make_outputs
from torch.nn import functional as F

from edgemate.distillation import Setting
from edgemate.distillation.methods.boosted import Boosted
from edgemate.distillation.methods.joint_ce import JointCE
from edgemate.errors import UsageError
from edgemate.models import ExitOutputs


def test_a_two_exit_example() -> None:
    # G_1 = (ln 9, 0) gives the label 9/10. G_2 = (0, ln 3) + ½·(ln 9, 0) = (ln 3, ln 3) gives it 1/2.
    logits = torch.tensor([[[math.log(9), 0.0], [0.0, math.log(3)]]], requires_grad=True)
    pooled = (torch.zeros(1, 2), torch.zeros(1, 2))
    loss = Boosted(Setting(2, 2, (2, 2)), weight=0.5)(ExitOutputs(logits, pooled), batch_of(torch.tensor([0])), START)
    assert loss.total.item() == pytest.approx(math.log(10 / 9) + math.log(2))
    assert loss.terms["labels"] == pytest.approx(loss.total.item())
    loss.total.backward()
    # p − y of each sum, at its own exit: exit 1 is not moved by what exit 2 makes of it.
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.tensor([[[-0.1, 0.1], [-0.5, 0.5]]]))


def test_an_exits_sum_moves_that_exit_alone() -> None:
    outputs, labels = make_outputs(1, requires_grad=True)
    Boosted(SETTING, weight=0.7)(outputs, batch_of(labels), START).total.backward()
    logits = outputs.logits.detach()
    before = logits[:, 1] + 0.7 * logits[:, 0]
    last = logits[:, 2].clone().requires_grad_()
    F.cross_entropy(last + 0.7 * before, labels).backward()
    assert outputs.logits.grad is not None
    torch.testing.assert_close(outputs.logits.grad[:, 2], last.grad)
    assert all(feature.grad is None for feature in outputs.pooled)


def test_the_deployed_logits_are_the_sums_that_were_trained() -> None:
    outputs, labels = make_outputs(2)
    method = Boosted(SETTING, weight=0.5)
    weights = method.mixing()
    assert weights.tolist() == [[1, 0, 0], [0.5, 1, 0], [0.25, 0.5, 1]]
    sums = torch.einsum("kj,njc->nkc", weights, outputs.logits)
    expected = sum(F.cross_entropy(sums[:, k], labels).item() for k in range(3))
    assert method(outputs, batch_of(labels), START).total.item() == pytest.approx(expected, rel=1e-5)


def test_a_weight_of_0_is_joint_ce() -> None:
    outputs, labels = make_outputs(3)
    boosted, joint = (
        method(outputs, batch_of(labels), START).total for method in (Boosted(SETTING, weight=0), JointCE(SETTING))
    )
    torch.testing.assert_close(boosted, joint)
    assert torch.equal(Boosted(SETTING, weight=0).mixing(), torch.eye(3))


def test_one_exit_has_nothing_to_add_to() -> None:
    logits, labels = torch.randn(4, 1, 3), torch.tensor([0, 1, 2, 0])
    method = Boosted(Setting(1, 3, (2,)))
    total = method(ExitOutputs(logits, (torch.zeros(4, 2),)), batch_of(labels), START).total
    torch.testing.assert_close(total, F.cross_entropy(logits[:, 0], labels))
    assert method.mixing().tolist() == [[1.0]]


def test_another_ensemble_beside_it_is_refused() -> None:
    with pytest.raises(UsageError, match=r"deploys its own sums .* set exits\.ensemble: none, not mean"):
        Boosted(Setting(3, 4, (5, 5, 5), ensemble="mean"))
