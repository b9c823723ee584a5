import math

import pytest
import torch
from exit_outputs import SETTING, START, C, D, K, batch_of, first_class, gradient_to_class_0, log3_logits, make_outputs
from torch import nn
from torch.nn import functional as F

from edgemate.distillation import Progress, Setting
from edgemate.distillation.methods.one import ONE
from edgemate.models import ExitOutputs

END = Progress(epoch=9, epochs=10, fraction=1.0)


def test_a_two_exit_example() -> None:
    method = ONE(Setting(2, 2, (1, 1)), temperature=1.0)
    linear, norm, _ = method.gate
    assert isinstance(linear, nn.Linear)
    assert isinstance(norm, nn.BatchNorm1d)
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.zero_()
        norm.bias.copy_(torch.tensor([1 + math.log(3), 1.0]))  # gate .75, .25
    logits = log3_logits(2, -2, images=2)  # class 0 has .9 and .1; the teacher, at (¾ · 2 − ¼ · 2) log 3, .75
    pooled = (torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [5.0]]))
    loss = method(ExitOutputs(logits, pooled), first_class(images=2), END)
    assert loss.terms["labels"].item() == pytest.approx(math.log(10 / 9) + math.log(10))
    assert loss.terms["teacher_labels"].item() == pytest.approx(math.log(4 / 3))
    to_first = 0.75 * math.log(0.75 / 0.9) + 0.25 * math.log(0.25 / 0.1)
    to_second = 0.75 * math.log(0.75 / 0.1) + 0.25 * math.log(0.25 / 0.9)
    assert loss.terms["teacher"].item() == pytest.approx(to_first + to_second)
    # Labels (p − 1), the teacher's labels through the gate g (.75 − 1), the teacher (p − .75).
    expected = [-0.1 + 0.75 * -0.25 + 0.15, -0.9 + 0.25 * -0.25 - 0.65]
    assert gradient_to_class_0(logits, loss.total) == pytest.approx(expected, abs=1e-6)
    # CE(t) has −.25 · 2 log 3 and +.25 · 2 log 3 for g, −.25 log 3 on average; the softmax takes g (own − mean).
    assert norm.bias.grad is not None
    slope = math.log(3) * 0.75 * (-0.5 + 0.25)
    assert norm.bias.grad.tolist() == pytest.approx([slope, -slope], abs=1e-6)
    assert method.report() == {"gate_exit1": pytest.approx(0.75), "gate_exit2": pytest.approx(0.25)}


def test_the_gate_and_the_features_learn_from_the_teachers_labels_alone() -> None:
    gradients = []
    for alpha in (0.0, 5.0):
        torch.manual_seed(0)
        method = ONE(SETTING, alpha=alpha)
        outputs, labels = make_outputs(1, requires_grad=True)
        method(outputs, batch_of(labels), END).total.backward()
        gradients.append([tensor.grad for tensor in (*method.gate.parameters(), *outputs.pooled)])
        assert all(gradient is not None for gradient in gradients[-1])
    torch.testing.assert_close(gradients[0], gradients[1])
    assert sum(gradient.abs().sum() for gradient in gradients[0] if gradient is not None) > 0


@pytest.mark.parametrize(
    ("fraction", "ramp_up", "weight"),
    [
        (0.0, 0.27, math.exp(-5)),
        (0.135, 0.27, math.exp(-5 / 4)),
        (0.27, 0.27, 1.0),
        (0.9, 0.27, 1.0),
        (0.0, 0.0, 1.0),
        (0.5, 1.0, math.exp(-5 / 4)),
    ],
)
def test_the_teachers_weight_rises_over_a_fraction_of_the_training(
    fraction: float, ramp_up: float, weight: float
) -> None:
    outputs, labels = make_outputs(2)
    torch.manual_seed(0)
    method = ONE(SETTING, alpha=2.0, ramp_up=ramp_up)
    now = method(outputs, batch_of(labels), Progress(0, 10, fraction)).terms
    end = method(outputs, batch_of(labels), END).terms
    assert now["teacher"].item() == pytest.approx(weight * end["teacher"].item())
    assert now["teacher_labels"].item() == pytest.approx(end["teacher_labels"].item())


def test_the_gate_reads_every_exits_features() -> None:
    method = ONE(Setting(3, C, (2, 4, 8)))
    linear = method.gate[0]
    assert isinstance(linear, nn.Linear)
    assert linear.weight.shape == (3, 14)
    assert {tuple(parameter.shape) for parameter in method.parameters()} == {(3, 14), (3,)}


def test_a_gate_that_learns_prefers_the_exit_that_is_right() -> None:
    torch.manual_seed(0)
    labels = torch.arange(C).repeat(5)
    right, wrong = F.one_hot(labels, C).float() * 3, F.one_hot((labels + 1) % C, C).float() * 3
    outputs = ExitOutputs(torch.stack([wrong, right, wrong], 1), tuple(torch.randn(len(labels), D) for _ in range(K)))
    method = ONE(SETTING)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.5)
    for _ in range(50):
        optimizer.zero_grad()
        method(outputs, batch_of(labels), START).total.backward()
        optimizer.step()
    assert method.report()["gate_exit2"] > 0.7


def test_one_exit_alone_is_the_whole_ensemble() -> None:
    outputs, labels = make_outputs(3)
    loss = ONE(Setting(1, C, (D,)))(ExitOutputs(outputs.logits[:, :1], outputs.pooled[:1]), batch_of(labels), END)
    torch.testing.assert_close(loss.total, 2 * F.cross_entropy(outputs.logits[:, 0], labels))
