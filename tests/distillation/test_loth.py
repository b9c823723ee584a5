import math

import pytest
import torch
from exit_outputs import SETTING, START, D, K, batch_of, first_class, gradient_to_class_0, log3_logits, make_outputs
from torch import Tensor, nn

from edgemate.distillation import Setting
from edgemate.distillation.methods.loth import LOTH
from edgemate.errors import UsageError
from edgemate.models import ExitOutputs


class Says(nn.Module):
    """A fusion head that says the same of every image."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, pooled: tuple[Tensor, ...]) -> Tensor:
        return self.logits.expand(len(pooled[0]), 1, -1)


def example() -> tuple[LOTH, Says, Tensor, ExitOutputs]:
    """Exits that give class 0 .5 and .9, so that their mean gives it .75; a fusion head that gives it .5."""
    method = LOTH(Setting(2, 2, (1, 1)), balance=1.2, temperature=1.0)
    method.fusion = fusion = Says(torch.zeros(1, 2))  # type: ignore[assignment]
    logits = log3_logits(0, 2)
    return method, fusion, logits, ExitOutputs(logits, (torch.ones(1, 1), torch.ones(1, 1)))


def test_the_terms_of_a_two_exit_example() -> None:
    method, _, _, outputs = example()
    terms = method(outputs, first_class(), START).terms
    assert terms["labels"] == pytest.approx((2 - 1.44) * math.log(2) - (2 - 1.2) * math.log(0.9))
    assert terms["fusion"] == pytest.approx(1.2 * (0.5 * math.log(5 / 9) + 0.5 * math.log(5)))
    assert terms["fusion_labels"] == pytest.approx(math.log(2))
    assert terms["fusion_ensemble"] == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))


def test_exits_learn_from_the_fusion_head_and_it_from_their_mean_each_as_from_a_constant() -> None:
    """Exit 1: .56 (.5 − 1) + 1.44 (.5 − .5). Exit 2: .8 (.9 − 1) + 1.2 (.9 − .5). Fusion: (.5 − 1) + (.5 − .75)."""
    method, fusion, logits, outputs = example()
    total = method(outputs, first_class(), START).total
    assert gradient_to_class_0(logits, total) == pytest.approx([-0.28, 0.4])
    assert fusion.logits.grad is not None
    assert fusion.logits.grad[0].tolist() == pytest.approx([-0.75, 0.75])


def test_the_fusion_heads_own_terms_train_the_features_that_it_reads() -> None:
    torch.manual_seed(0)
    method = LOTH(SETTING)
    outputs, labels = make_outputs(1, requires_grad=True)
    method(outputs, batch_of(labels), START).total.backward()
    for feature in outputs.pooled:
        assert feature.grad is not None
        assert feature.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in method.fusion.parameters())


def test_the_fusion_head_reads_features_of_any_widths() -> None:
    method = LOTH(Setting(K, 4, (2, D, 7)))
    outputs, labels = make_outputs()
    outputs = outputs._replace(pooled=(torch.rand(6, 2), torch.rand(6, D), torch.rand(6, 7)))
    assert method(outputs, batch_of(labels), START).total.isfinite()


def test_too_many_exits_for_the_balance_are_refused_with_one_that_fits() -> None:
    with pytest.raises(UsageError, match=r"2 − 1\.15\^5, is negative; with 5 exits set .*balance to 1\.14 or less"):
        LOTH(Setting(5, 4, (3,) * 5))
    LOTH(Setting(5, 4, (3,) * 5), balance=1.14)
    LOTH(Setting(4, 4, (3,) * 4))
