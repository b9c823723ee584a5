import math

import pytest
import torch
from exit_outputs import SETTING, START, C, K, N, batch_of, make_outputs
from torch.nn import functional as F

from edgemate.distillation import Setting
from edgemate.distillation.mate import MATE
from edgemate.distillation.terms import kl_to, soft_cross_entropy


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


def test_exits_learn_from_labels_and_teachers_as_from_constants() -> None:
    """The exits' gradient is that of CE + KL to fixed teachers: nothing reaches an exit through a teacher."""
    method = MATE(SETTING)
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


def test_the_proximity_term_keeps_teachers_apart() -> None:
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
        ("geometric", [1 / 5.16, 1.6 / 5.16, 2.56 / 5.16]),  # BEED: 1.6^(k−1), normalised
        ("last_exit", [0.0, 0.0, 1.0]),  # BYOT
    ],
)
def test_frozen_weights_are_the_logit_targets_of_other_methods(weights: str, ensemble: list[float]) -> None:
    method = MATE(SETTING, weights=weights)
    (logits, _, _), _ = make_outputs(4)
    target = (logits * torch.tensor(ensemble).view(1, K, 1)).sum(1)
    for k in range(K):
        torch.testing.assert_close(method.teachers(logits)[:, k], target, rtol=0, atol=1e-6)


def test_frozen_uniform_weights_give_eeds_kl_term() -> None:
    (logits, _, _), labels = make_outputs(6)
    loss = MATE(SETTING, weights="uniform")(make_outputs(6)[0], batch_of(labels), START)
    eed = kl_to(logits.mean(1, keepdim=True), logits, 3.0).sum()
    torch.testing.assert_close(loss.terms["teachers"], eed, rtol=0, atol=1e-6)
    assert set(loss.terms) == {"labels", "teachers"}


def test_frozen_last_exit_weights_give_byots_soft_gradient() -> None:
    """BYOT writes a cross-entropy and MATE a divergence; they differ by the teacher's entropy, which is a constant."""
    outputs, labels = make_outputs(7, requires_grad=True)
    loss = MATE(SETTING, weights="last_exit")(outputs, batch_of(labels), START)
    (loss.total - sum(F.cross_entropy(outputs.logits[:, k], labels) for k in range(K))).backward()
    (logits, _, _), _ = make_outputs(7, requires_grad=True)
    soft_cross_entropy(logits[:, -1:].detach(), logits[:, :-1], 3.0).sum().backward()
    assert outputs.logits.grad is not None
    assert logits.grad is not None
    torch.testing.assert_close(outputs.logits.grad[:, :-1], logits.grad[:, :-1], rtol=0, atol=1e-6)


def test_frozen_weights_have_nothing_to_train() -> None:
    assert [p for p in MATE(SETTING, weights="uniform").parameters() if p.requires_grad] == []
    assert [p.shape for p in MATE(SETTING).parameters() if p.requires_grad] == [(K, K)]


def test_one_exit_alone_is_its_own_teacher() -> None:
    (logits, pooled, _), labels = make_outputs(8)
    outputs = make_outputs(8)[0]._replace(logits=logits[:, :1], pooled=pooled[:1])
    loss = MATE(Setting(1, C, (5,)))(outputs, batch_of(labels), START)
    expected = 2 * F.cross_entropy(logits[:, 0], labels)
    torch.testing.assert_close(loss.total, expected)


def test_weights_are_reported_with_the_exits_they_belong_to() -> None:
    report = MATE(SETTING, start=2.0).report()
    own = math.exp(2) / (math.exp(2) + 2)
    assert report["teacher2_exit2"] == pytest.approx(own)
    assert report["teacher2_exit3"] == pytest.approx((1 - own) / 2)
    assert len(report) == K * K


def test_teachers_have_the_shape_of_the_exits() -> None:
    assert MATE(SETTING).teachers(make_outputs()[0].logits).shape == (N, K, C)
