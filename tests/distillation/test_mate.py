import math

import pytest
import torch
from exit_outputs import (
    SETTING,
    START,
    C,
    K,
    N,
    batch_of,
    first_class,
    gradient_to_class_0,
    log3_logits,
    make_outputs,
)
from torch.nn import functional as F

from edgemate.distillation import Method, Setting
from edgemate.distillation.methods.beed import BEED
from edgemate.distillation.methods.byot import BYOT
from edgemate.distillation.methods.eed import EED
from edgemate.distillation.methods.mate import MATE
from edgemate.distillation.terms import kl_to
from edgemate.models import ExitOutputs


def by_the_formula(
    method: MATE, temperature: float, alpha: float, primary: float, mu: float, seed: int
) -> torch.Tensor:
    """The loss as the docstring writes it, one sum at a time."""
    (logits, _, _), labels = make_outputs(seed)
    weights = torch.softmax(method.scores.detach(), 1)
    teachers = [sum(weights[k, j] * logits[:, j] for j in range(K)) for k in range(K)]

    def kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        p, q = F.softmax(p / temperature, -1), F.softmax(q / temperature, -1)
        return (p * (p.log() - q.log())).sum(-1).mean()

    total = torch.zeros(())
    for i in range(K):
        total = total + F.cross_entropy(logits[:, i], labels)
        for k in range(K):
            g = primary if i == k else (1 - primary) / (K - 1)
            total = total + alpha * g * temperature**2 * kl(teachers[k], logits[:, i])
    for k in range(K):
        total = total + F.cross_entropy(teachers[k], labels) + mu * temperature**2 * kl(teachers[k], logits[:, k])
    return total


@pytest.mark.parametrize(("temperature", "alpha", "primary", "mu"), [(3, 1, 0.7, 1), (1, 0.5, 0.2, 0), (4, 2, 1, 3)])
def test_the_loss_is_the_formulas(temperature: float, alpha: float, primary: float, mu: float) -> None:
    method = MATE(SETTING, temperature=temperature, alpha=alpha, primary=primary, proximity=mu)
    with torch.no_grad():
        method.scores.add_(torch.randn(K, K, generator=torch.Generator().manual_seed(1)))
    outputs, labels = make_outputs(5)
    loss = method(outputs, batch_of(labels), START)
    torch.testing.assert_close(loss.total, by_the_formula(method, temperature, alpha, primary, mu, 5))
    torch.testing.assert_close(loss.total, torch.stack(list(loss.terms.values())).sum())


@pytest.mark.parametrize("moves", [False, True])
def test_what_moves_the_exits_and_the_weights_in_a_two_exit_example(moves: bool) -> None:
    logits = log3_logits(0, 2)  # class 0 has .5 and .9
    method = MATE(
        Setting(2, 2, (1, 1)), temperature=1.0, alpha=2.0, primary=0.6, proximity=3.0, start=0.0, moves_exits=moves
    )
    loss = method(ExitOutputs(logits, ()), first_class(), START)
    # Both teachers are the plain mean, log 3, and give class 0 .75. Each weighs both exits by ½: from the teachers'
    # cross-entropy every exit gets 2 · ½ (.75 − 1), if anything.
    through = 2 * 0.5 * (0.75 - 1) if moves else 0.0
    expected = [(0.5 - 1) + 2 * (0.5 - 0.75) + through, (0.9 - 1) + 2 * (0.9 - 0.75) + through]
    assert gradient_to_class_0(logits, loss.total) == pytest.approx(expected, abs=1e-6)
    # d CE / d t = .75 − 1; d KL(t ‖ z_k) / d t = .75 · .25 (t − z_k), t − z_k = ± log 3; d t / d a_kj = ½ (z_j − t).
    pulls = [(0.75 - 1) + 3 * 0.75 * 0.25 * sign * math.log(3) for sign in (1, -1)]
    weights = [[pull * 0.5 * -math.log(3), pull * 0.5 * math.log(3)] for pull in pulls]
    assert method.scores.grad is not None
    torch.testing.assert_close(method.scores.grad, torch.tensor(weights))


def test_exits_learn_from_labels_and_teachers_as_from_constants() -> None:
    """Without `moves_exits` the exits' gradient is that of CE + KL to fixed teachers; none comes through a teacher."""
    method = MATE(SETTING, alpha=1.0, moves_exits=False)
    outputs, labels = make_outputs(2, requires_grad=True)
    method(outputs, batch_of(labels), START).total.backward()

    (logits, _, _), _ = make_outputs(2, requires_grad=True)
    teachers = method.teachers(logits.detach()).detach()
    total = torch.zeros(())
    for i in range(K):
        total = total + F.cross_entropy(logits[:, i], labels)
        for k in range(K):
            g = 0.7 if i == k else 0.15
            total = total + g * kl_to(teachers[:, k : k + 1], logits[:, i : i + 1], 3.0).sum()
    total.backward()
    torch.testing.assert_close(outputs.logits.grad, logits.grad)


def test_teacher_weights_learn_from_their_own_term_alone() -> None:
    outputs, labels = make_outputs(3)
    gradients = []
    for alpha in (0.0, 5.0):
        method = MATE(SETTING, alpha=alpha)
        method(outputs, batch_of(labels), START).total.backward()
        assert method.scores.grad is not None
        gradients.append(method.scores.grad)
    torch.testing.assert_close(gradients[0], gradients[1])
    assert gradients[0].abs().sum() > 0


def test_a_teacher_worse_than_another_exit_moves_its_weight_there() -> None:
    labels = torch.arange(C).repeat(5)
    right, wrong = F.one_hot(labels, C).float() * 5, F.one_hot((labels + 1) % C, C).float() * 5
    logits = torch.stack([wrong, wrong, right], 1)
    method = MATE(SETTING, proximity=0.0)
    optimizer = torch.optim.SGD(method.parameters(), lr=1.0)
    for _ in range(20):
        optimizer.zero_grad()
        method(make_outputs()[0]._replace(logits=logits), batch_of(labels), START).total.backward()
        optimizer.step()
    assert (method.weights()[:, 2] > 0.9).all()


def test_the_proximity_term_keeps_teachers_different() -> None:
    """The reason for μ: without it every row goes to the best exit, with it row k stays nearer to exit k."""
    labels = torch.arange(C).repeat(5)
    right = F.one_hot(labels, C).float()
    logits = torch.stack([0.5 * right, 1.0 * right, 3.0 * right], 1)
    kept = []
    for mu in (0.0, 10.0):
        method = MATE(SETTING, proximity=mu)
        optimizer = torch.optim.SGD(method.parameters(), lr=0.5)
        for _ in range(200):
            optimizer.zero_grad()
            method(make_outputs()[0]._replace(logits=logits), batch_of(labels), START).total.backward()
            optimizer.step()
        kept.append(method.weights().detach()[0, 0].item())
    assert kept[0] < 0.1 < kept[1]


@pytest.mark.parametrize(
    ("weights", "ensemble"),
    [
        ("uniform", [1 / 3, 1 / 3, 1 / 3]),  # EED
        ("geometric", [1 / 5.16, 1.6 / 5.16, 2.56 / 5.16]),  # BEED: 1.6^(k−1), normalized
        ("last_exit", [0.0, 0.0, 1.0]),  # BYOT
    ],
)
def test_frozen_weights_are_the_logit_targets_of_other_methods(weights: str, ensemble: list[float]) -> None:
    method = MATE(SETTING, weights=weights)
    (logits, _, _), _ = make_outputs(4)
    target = (logits * torch.tensor(ensemble).view(1, K, 1)).sum(1)
    for k in range(K):
        torch.testing.assert_close(method.teachers(logits)[:, k], target, rtol=0, atol=1e-6)


def test_frozen_uniform_weights_give_eeds_logit_term() -> None:
    mate = term_and_gradient(MATE(SETTING, weights="uniform", alpha=0.1))
    torch.testing.assert_close(mate, term_and_gradient(EED(SETTING, logits="kl")), rtol=0, atol=1e-6)


def test_frozen_geometric_weights_give_beeds_logit_term() -> None:
    """With a of 1, which weighs BEED's exits alike."""
    mate = term_and_gradient(MATE(SETTING, weights="geometric", alpha=1.0))
    torch.testing.assert_close(mate, term_and_gradient(BEED(SETTING, balance=1)), rtol=0, atol=1e-6)


def test_frozen_last_exit_weights_give_byots_logit_term() -> None:
    """BYOT writes a cross-entropy and MATE a divergence; they differ by the teacher's entropy, which is a constant."""
    value, gradient = term_and_gradient(MATE(SETTING, weights="last_exit", alpha=0.4))
    byots_value, byots = term_and_gradient(BYOT(SETTING, alpha=0.4))
    torch.testing.assert_close(gradient, byots, rtol=0, atol=1e-6)
    log = F.log_softmax(make_outputs(7)[0].logits[:, -1].double() / 3, -1)
    entropy = -(log.exp() * log).sum(-1).mean()
    torch.testing.assert_close(value, byots_value - 0.4 * 9 * (K - 1) * entropy, rtol=0, atol=1e-6)


def term_and_gradient(method: Method) -> tuple[torch.Tensor, torch.Tensor]:
    """In float64: the term that compares logits with a teacher, and what it makes flow to the logits (N, K, C)."""
    outputs, labels = make_outputs(7)
    logits = outputs.logits.double().requires_grad_()
    pooled = tuple(feature.double() for feature in outputs.pooled)
    loss = method.double()(ExitOutputs(logits, pooled), batch_of(labels), START)
    terms = dict(loss.terms)
    (name,) = terms.keys() - {"labels", "features"}
    # The labels' term is Σ w_k CE_k in all of them; w is read off its value, which the weights differ in.
    each = torch.stack([F.cross_entropy(logits[:, k], labels) for k in range(K)]).sum()
    rest = loss.total - terms["labels"] / each.detach() * each
    return terms[name], torch.autograd.grad(rest, logits)[0]


def test_frozen_weights_have_nothing_to_train() -> None:
    assert [p for p in MATE(SETTING, weights="uniform").parameters() if p.requires_grad] == []
    assert [p.shape for p in MATE(SETTING).parameters() if p.requires_grad] == [(K, K)]


def test_one_exit_alone_is_its_own_teacher() -> None:
    (logits, pooled, _), labels = make_outputs(8)
    outputs = make_outputs(8)[0]._replace(logits=logits[:, :1], pooled=pooled[:1])
    loss = MATE(Setting(1, C, (5,)))(outputs, batch_of(labels), START)
    expected = 2 * F.cross_entropy(logits[:, 0], labels)  # its own, and its teacher's
    torch.testing.assert_close(loss.total, expected)


def test_weights_are_reported_with_the_exits_they_belong_to() -> None:
    report = MATE(SETTING, start=2.0).report()
    own = math.exp(2) / (math.exp(2) + 2)
    assert report["teacher2_exit2"] == pytest.approx(own)
    assert report["teacher2_exit3"] == pytest.approx((1 - own) / 2)
    assert len(report) == K * K


def test_teachers_have_the_shape_of_the_exits() -> None:
    assert MATE(SETTING).teachers(make_outputs()[0].logits).shape == (N, K, C)
