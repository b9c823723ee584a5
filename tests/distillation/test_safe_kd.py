import math

import pytest
import torch
from exit_outputs import C, K, N, batch_of, first_class, gradient_to_class_0, log3_logits, make_outputs
from torch import Tensor, nn
from torch.nn import functional as F

from edgemate.distillation import Progress, Setting
from edgemate.distillation.methods.safe_kd import SafeKD, decoupled_kd
from edgemate.models import ExitOutputs

END = Progress(epoch=9, epochs=10, fraction=1.0)


class Network(nn.Module):
    """Says the same of every image, and counts how often it was asked in training mode."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(logits.detach().clone())
        self.register_buffer("statistic", torch.tensor(1.0))
        self.register_buffer("steps", torch.tensor(0))

    def outputs(self, images: Tensor) -> ExitOutputs:
        assert not self.training
        return ExitOutputs(self.weight.expand(len(images), -1, -1), ())


def bound(logits: Tensor, **options: float) -> tuple[SafeKD, Network]:
    """The method on a network that says `logits`, (1, K, C)."""
    _, k, c = logits.shape
    method, network = SafeKD(Setting(k, c, (1,) * k), **options), Network(logits)
    method.bind(network)  # type: ignore[arg-type]
    return method.train(), network


def test_the_decoupled_divergences_of_an_example() -> None:
    """Of the true class and the rest: (.25, .75) to (.5, .5); among the rest: (⅔, ⅓) to (½, ½)."""
    target = torch.tensor([[[0.25, 0.5, 0.25]]]).log()
    given = torch.tensor([[[0.5, 0.25, 0.25]]]).log()
    labels = torch.tensor([0])
    true_class = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    rest = 2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)
    assert decoupled_kd(target, given, labels, 1.0, 1.0, 0.0).item() == pytest.approx(true_class)
    assert decoupled_kd(target, given, labels, 1.0, 0.0, 1.0).item() == pytest.approx(rest)
    assert decoupled_kd(target, given, labels, 1.0, 2.0, 8.0).item() == pytest.approx(2 * true_class + 8 * rest)


def test_the_two_parts_make_up_the_plain_divergence() -> None:
    """KL(p ‖ q) = TCKD + (1 − p_y) NCKD (arXiv 2203.08679)."""
    (logits, _, _), labels = make_outputs(2)
    (target, _, _), _ = make_outputs(3)
    for n in range(N):
        one = slice(n, n + 1)
        fractions = F.softmax(target[one, :1] / 4, -1)
        plain = 16 * (fractions * (fractions.log() - F.log_softmax(logits[one] / 4, -1))).sum(-1)[0]
        beta = 1 - float(fractions[0, 0, labels[n]])
        torch.testing.assert_close(decoupled_kd(target[one, :1], logits[one], labels[one], 4.0, 1.0, beta), plain)


def test_certain_logits_give_finite_losses() -> None:
    logits = torch.tensor([[[900.0, -900.0, 0.0]]], requires_grad=True)
    for label in range(3):
        loss = decoupled_kd(logits.detach().flip(-1), logits, torch.tensor([label]), 1.0, 1.0, 8.0).sum()
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.isfinite()
        assert gradient.isfinite().all()


def test_which_exit_learns_what_from_whom() -> None:
    """With two classes NCKD is 0. Exit 1: (.5 − 1) + 2 (.5 − .75) + (.5 − .9). Exit 2: (.9 − 1) + 2 (.9 − .75)."""
    method, network = bound(log3_logits(0, 1), alpha=2.0, temperature=1.0)
    logits = log3_logits(0, 2)
    loss = method(ExitOutputs(logits, ()), first_class(), END)
    assert gradient_to_class_0(logits, loss.total) == pytest.approx([-1.4, 0.2])
    assert loss.terms["consistency"] == pytest.approx(0.9 * math.log(1.8) + 0.1 * math.log(0.2))
    assert network.weight.grad is None
    assert not any(parameter.requires_grad for parameter in method.parameters())


def test_the_average_follows_the_network_by_one_step_of_training() -> None:
    method, network = bound(torch.zeros(1, K, C), decay=0.75)
    method.steps.fill_(1000.0)  # far beyond the beginning
    outputs, labels = make_outputs()
    assert isinstance(method.average, nn.Module)
    seen = []
    for value in (4.0, 8.0):
        with torch.no_grad():
            network.weight.fill_(value)
            network.statistic.fill_(value)
            network.steps.fill_(value)
        method(outputs, batch_of(labels), END)
        state = method.average.state_dict()
        seen.append([float(state["weight"][0, 0, 0]), float(state["statistic"]), int(state["steps"])])
    assert seen == [[1.0, 1.75, 4], [2.75, 3.3125, 8]]
    method.eval()(outputs, batch_of(labels), END)
    assert float(method.average.state_dict()["weight"][0, 0, 0]) == 2.75


def test_the_average_forgets_the_untrained_network_at_once() -> None:
    """Step n keeps (1 + n) / (10 + n) of it while that is less than the decay."""
    method, network = bound(torch.full((1, K, C), -1.0), decay=0.2)
    with torch.no_grad():
        network.weight.fill_(1.0)
    outputs, labels = make_outputs()
    assert isinstance(method.average, nn.Module)
    kept = 1.0
    for step in (1 / 10, 2 / 11, 0.2, 0.2):
        method(outputs, batch_of(labels), END)
        kept *= step
        torch.testing.assert_close(method.average.state_dict()["weight"], torch.full((1, K, C), 1 - 2 * kept))


def test_how_right_the_teacher_is_about_an_epoch_is_reported() -> None:
    method, _ = bound(torch.eye(C)[[0] * K].unsqueeze(0))  # says class 0
    assert method.report() == {"average_accuracy": 0.0}
    outputs, _ = make_outputs()
    for labels in ([0, 0, 1, 2, 3, 1], [0, 1, 1, 1, 1, 1]):
        method(outputs, batch_of(torch.tensor(labels)), END)
    assert method.report() == {"average_accuracy": pytest.approx(3 / 12)}
    method(outputs, batch_of(torch.zeros(N, dtype=torch.int64)), END._replace(epoch=10))
    assert method.report() == {"average_accuracy": 1.0}


def test_the_average_is_the_methods_own_and_the_network_is_not() -> None:
    method, network = bound(torch.zeros(1, K, C))
    assert sorted(method.state_dict()) == ["average.statistic", "average.steps", "average.weight", "steps"]
    method.train()
    assert not method.average.training  # type: ignore[union-attr]
    assert network.training


def test_the_teacher_is_heard_little_at_first() -> None:
    method, _ = bound(make_outputs(1)[0].logits[:1])
    outputs, labels = make_outputs()
    first, last = (method(outputs, batch_of(labels), Progress(0, 10, part)).terms for part in (0.0, 0.1))
    assert first["teacher"] / last["teacher"] == pytest.approx(math.exp(-5))
    assert first["labels"] == last["labels"]
