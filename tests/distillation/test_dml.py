import math

import pytest
import torch
from exit_outputs import SETTING, START, C, K, batch_of, first_class, gradient_to_class_0, log3_logits, make_outputs
from torch.nn import functional as F

from edgemate.distillation import Setting
from edgemate.distillation.methods.dks import DKS
from edgemate.distillation.methods.dml import DML
from edgemate.models import ExitOutputs


def test_a_three_exit_example() -> None:
    logits = log3_logits(0, 1, -1)  # class 0 has .5, .75 and .25
    loss = DML(Setting(3, 2, (1, 1, 1)))(ExitOutputs(logits, ()), first_class(), START)
    assert loss.terms["labels"].item() == pytest.approx(math.log(2) + math.log(4 / 3) + math.log(4))
    to_uniform = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)  # KL((.75, .25) ‖ (.5, .5)), and so for (.25, .75)
    from_uniform = 0.5 * math.log(2 / 3) + 0.5 * math.log(2)
    across = 0.5 * math.log(3)  # KL((.75, .25) ‖ (.25, .75)) = (.75 − .25) log 3
    assert loss.terms["peers"].item() == pytest.approx(0.5 * 2 * (to_uniform + from_uniform + across))
    # Labels (p − 1), then half of Σ_j (p_i − p_j): exit 1 is between the others, which are pulled to the middle.
    expected = [-0.5 + 0.0, -0.25 + 0.5 * (0.25 + 0.5), -0.75 + 0.5 * (-0.25 - 0.5)]
    assert gradient_to_class_0(logits, loss.total) == pytest.approx(expected)


def test_it_is_dks_with_pairs_weighted_by_the_number_of_peers() -> None:
    outputs, labels = make_outputs(1)
    ours = DML(SETTING, temperature=2.0, weight=3.0)(outputs, batch_of(labels), START)
    pairs = DKS(SETTING, temperature=2.0, weight=3.0 / (K - 1))(outputs, batch_of(labels), START)
    torch.testing.assert_close(ours.total, pairs.total)


def test_one_exit_alone_learns_from_labels() -> None:
    outputs, labels = make_outputs(2)
    alone = ExitOutputs(outputs.logits[:, :1], outputs.pooled[:1])
    loss = DML(Setting(1, C, (5,)))(alone, batch_of(labels), START)
    torch.testing.assert_close(loss.total, F.cross_entropy(outputs.logits[:, 0], labels))
