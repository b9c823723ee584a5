import math

import pytest
import torch
from exit_outputs import START, first_class, gradient_to_class_0, log3_logits, make_outputs

from edgemate.distillation import Setting
from edgemate.distillation.methods.last_exit import LastExit
from edgemate.models import ExitOutputs

TWO = Setting(exits=2, classes=2, pooled_widths=(1, 1))


def test_a_two_exit_example_at_temperature_1() -> None:
    logits = log3_logits(0, 1)  # class 0 has .5 and .75
    loss = LastExit(TWO, weight=0.5, scale=1.0)(ExitOutputs(logits, ()), first_class(), START)
    assert loss.terms["labels"].item() == pytest.approx(0.5 * (math.log(2) + math.log(4 / 3)))
    assert loss.terms["last_exit"].item() == pytest.approx(0.5 * math.log(2))  # a uniform student: log 2
    # Exit 1: .5 (.5 − 1) from the labels, .5 (.5 − .75) from exit 2. Exit 2: .5 (.75 − 1), labels alone.
    assert gradient_to_class_0(logits, loss.total) == pytest.approx([-0.375, -0.125])


def test_a_two_exit_example_at_temperature_2() -> None:
    method = LastExit(TWO, weight=0.25, scale=1.0)
    method.temperature.fill_(2.0)
    logits = log3_logits(0, 2)  # half of 2 log 3 gives class 0 .75
    loss = method(ExitOutputs(logits, ()), first_class(), START)
    assert loss.terms["last_exit"].item() == pytest.approx(0.25 * 4 * math.log(2))
    # T² / T = 2: .25 · 2 (.5 − .75) beside .75 (.5 − 1).
    assert gradient_to_class_0(logits, loss.total) == pytest.approx([-0.125 - 0.375, 0.75 * -0.1])


@pytest.mark.parametrize(("exits", "scale"), [(2, 5.0), (5, 2.0), (11, 10 / 11)])
def test_the_whole_loss_is_scaled_as_the_authors_do(exits: int, scale: float) -> None:
    setting = Setting(exits, 2, (1,) * exits)
    outputs = ExitOutputs(log3_logits(*range(exits)), ())
    plain, scaled = (LastExit(setting, scale=given)(outputs, first_class(), START) for given in (1.0, None))
    torch.testing.assert_close(scaled.total, scale * plain.total)
    for name in plain.terms:
        torch.testing.assert_close(scaled.terms[name], scale * plain.terms[name])


def test_the_temperature_grows_after_a_batch_that_is_too_sure() -> None:
    method = LastExit(TWO, threshold=0.7)
    sure, unsure = ExitOutputs(log3_logits(0, 1), ()), ExitOutputs(log3_logits(2, 0), ())
    seen = []
    for outputs in (sure, sure, unsure, sure):
        method(outputs, first_class(), START)
        seen.append(method.report()["temperature"])
    # .75, then 3^(1/1.05) / (1 + 3^(1/1.05)) = .740; a last exit at .5 lets it stand, however sure the first one is.
    assert seen == pytest.approx([1.05, 1.05**2, 1.05**2, 1.05**3])


def test_confidence_is_read_at_the_temperature_of_the_batch() -> None:
    method = LastExit(TWO, threshold=0.7)
    method.temperature.fill_(2.0)  # .75 becomes √3 / (1 + √3) = .634
    method(ExitOutputs(log3_logits(0, 1), ()), first_class(), START)
    assert method.report() == {"temperature": 2.0}


def test_the_temperature_has_a_limit() -> None:
    method = LastExit(TWO, growth=10.0, threshold=0.5, limit=25.0)
    for _ in range(3):
        method(ExitOutputs(log3_logits(0, 2), ()), first_class(), START)
    assert method.report() == {"temperature": 25.0}


def test_the_temperature_travels_with_the_state() -> None:
    method, resumed = LastExit(TWO), LastExit(TWO)
    method(ExitOutputs(log3_logits(0, 2), ()), first_class(), START)
    resumed.load_state_dict(method.state_dict())
    assert resumed.report() == {"temperature": pytest.approx(1.05)}
    assert list(method.parameters()) == []


def test_one_exit_alone_has_its_share_of_the_labels() -> None:
    logits = log3_logits(1)
    loss = LastExit(Setting(1, 2, (1,)), scale=1.0)(ExitOutputs(logits, ()), first_class(), START)
    assert loss.total.item() == pytest.approx(0.5 * math.log(4 / 3))
    assert loss.terms["last_exit"] == 0


def test_a_class_more_makes_no_difference_to_the_form() -> None:
    outputs, labels = make_outputs(3)
    loss = LastExit(Setting(3, 4, (5,) * 3), scale=1.0)(outputs, first_class()._replace(labels=labels), START)
    p, q = torch.softmax(outputs.logits[:, -1], -1), torch.log_softmax(outputs.logits[:, :-1], -1)
    torch.testing.assert_close(loss.terms["last_exit"], -0.5 * (p.unsqueeze(1) * q).sum(-1).mean(0).sum())
