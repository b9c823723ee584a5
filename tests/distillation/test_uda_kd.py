from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from exit_outputs import SETTING, C, D, K, N, make_outputs
from torch import Tensor, nn
from torch.nn import functional as F

from edgemate.distillation import Batch, Progress
from edgemate.distillation.methods.uda_kd import UDAKD
from edgemate.distillation.teachers.teacher import Teacher, TeacherNetwork
from edgemate.errors import UsageError
from edgemate.models import ExitOutputs

HALF = Progress(epoch=5, epochs=10, fraction=0.5)
KNOWN = torch.tensor([True] * 4 + [False] * 2)
BETA = 0.1 * 9**0.5


class TinyNetwork(TeacherNetwork):
    """A linear layer, batch normalization, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(11)
        self.width = 3
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3))
        self.classifier = nn.Linear(3, C)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.features(images)
        return self.classifier(pooled), pooled


def make_method(**options: float | str) -> UDAKD:
    teacher = Teacher(TinyNetwork())
    torch.manual_seed(3)
    return UDAKD(replace(SETTING, teacher=teacher, unlabeled=True), **options)  # type: ignore[arg-type]


def make_batch(requires_grad: bool = False) -> tuple[ExitOutputs, Batch]:
    outputs, labels = make_outputs(4, requires_grad)
    images = torch.randn(N, 1, 2, 2, generator=torch.Generator().manual_seed(8))
    return outputs, Batch(images, torch.where(KNOWN, labels, -1))


def kl(target: Tensor, given: Tensor, temperature: float) -> Tensor:
    p, q = F.softmax(target / temperature, -1), F.softmax(given / temperature, -1)
    return (p * (p.log() - q.log())).sum(-1).mean()


def domain_loss(discriminator: nn.Module, feature: Tensor, is_source: bool) -> Tensor:
    logit = discriminator.layers(feature).squeeze(1)  # type: ignore[operator, union-attr]
    return F.binary_cross_entropy_with_logits(logit, torch.full_like(logit, float(is_source)))


def test_the_exits_loss_is_the_formulas_under_the_teacher_after_its_step() -> None:
    method = make_method(temperature=4.0, alpha=0.3)
    (logits, pooled, _), batch = outputs, _ = make_batch()
    labels = batch.labels[KNOWN]
    loss = method(outputs, batch, HALF)

    with torch.no_grad():
        after = copy.deepcopy(method).teacher(batch.images).logits
    total = torch.zeros(())
    for k, discriminator in enumerate(method.discriminators):
        on_source = kl(after[KNOWN], logits[KNOWN, k], 4.0) * 16
        on_target = kl(after[~KNOWN], logits[~KNOWN, k], 4.0) * 16
        hard = F.cross_entropy(logits[KNOWN, k], labels)
        adversarial = domain_loss(discriminator, pooled[k][~KNOWN], is_source=False)
        discriminator_loss = domain_loss(discriminator, pooled[k][KNOWN], is_source=True)
        total = total + BETA * (0.3 * on_source + 0.7 * hard + on_target + 0.3 * (adversarial + discriminator_loss))
    torch.testing.assert_close(loss.total, total)
    torch.testing.assert_close(loss.total, torch.stack(list(loss.terms.values())).sum())


def test_the_teachers_step_is_that_of_its_own_loss() -> None:
    method = make_method(gamma=0.7)
    network, discriminator = copy.deepcopy(method.teacher.network), copy.deepcopy(method.teacher_discriminator)
    outputs, batch = make_batch()
    method(outputs, batch, HALF)

    logits, pooled = network(batch.images)
    strength = 2 / (1 + torch.e**-5) - 1
    told = sum(domain_loss(discriminator, pooled[part], source) for part, source in ((KNOWN, True), (~KNOWN, False)))
    hard = F.cross_entropy(logits[KNOWN], batch.labels[KNOWN])
    own, other = list(network.parameters()), list(discriminator.parameters())
    of_labels = torch.autograd.grad(hard, own, retain_graph=True)
    of_domains = torch.autograd.grad(0.7 * told, own, retain_graph=True, allow_unused=True)
    of_discriminator = torch.autograd.grad(0.7 * told, other)
    rate = 0.01 / 6**0.75
    now = [*method.teacher.network.parameters(), *method.teacher_discriminator.parameters()]
    expected = [
        *(
            by_labels - (0 if by_domains is None else strength * by_domains)
            for by_labels, by_domains in zip(of_labels, of_domains, strict=True)
        ),
        *of_discriminator,
    ]
    for before, after, gradient in zip([*own, *other], now, expected, strict=True):
        step = (1 - BETA) * gradient + 5e-4 * before
        torch.testing.assert_close(after, before - rate * step, atol=1e-6, rtol=1e-5)


def test_what_moves_what() -> None:
    method = make_method()
    outputs, batch = make_batch(requires_grad=True)
    loss = method(outputs, batch, HALF)
    loss.total.backward()
    # The exits' loss leaves the teacher and its discriminator alone, and the teacher's step leaves no gradient behind.
    for parameter in [*method.teacher.parameters(), *method.teacher_discriminator.parameters()]:
        assert parameter.grad is None
    assert all(parameter.grad is not None for parameter in method.discriminators.parameters())
    for feature in outputs.pooled:
        assert feature.grad is not None
        assert feature.grad[KNOWN].eq(0).all()
        assert feature.grad[~KNOWN].ne(0).any()
    assert outputs.logits.grad is not None
    assert outputs.logits.grad.ne(0).any(-1).all()


def test_the_exits_features_get_the_adversarial_gradient_reversed() -> None:
    method = make_method()
    outputs, batch = make_batch(requires_grad=True)
    method(outputs, batch, HALF).total.backward()
    (_, pooled, _), _ = make_batch(requires_grad=True)
    strength = 2 / (1 + torch.e**-5) - 1
    for k, discriminator in enumerate(method.discriminators):
        (plain,) = torch.autograd.grad(domain_loss(discriminator, pooled[k][~KNOWN], is_source=False), pooled[k])
        torch.testing.assert_close(outputs.pooled[k].grad, -strength * BETA * 0.2 * plain)


def test_labels_of_the_target_are_not_looked_at_and_its_images_are() -> None:
    outputs, batch = make_batch()
    whole = make_method()(outputs, batch, HALF)
    without = make_method()(
        outputs._replace(logits=outputs.logits * (1 + (~KNOWN).float()[:, None, None])), batch, HALF
    )
    assert whole.terms["labels"] == without.terms["labels"]
    assert whole.terms["teacher_source"] == without.terms["teacher_source"]
    assert whole.terms["teacher_target"] != without.terms["teacher_target"]


@pytest.mark.parametrize(("fraction", "beta"), [(0.0, 0.1), (0.5, 0.3), (1.0, 0.9)])
def test_beta_grows_exponentially(fraction: float, beta: float) -> None:
    assert make_method().beta(Progress(0, 10, fraction)) == pytest.approx(beta)


def test_at_the_start_nothing_is_reversed() -> None:
    method = make_method(gamma=1000.0)
    reference = make_method(gamma=0.0)
    outputs, batch = make_batch(requires_grad=True)
    start = Progress(0, 10, 0.0)
    method(outputs, batch, start).total.backward()
    reference(*make_batch(), start)
    for one, other in zip(method.teacher.parameters(), reference.teacher.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert all(feature.grad is None or feature.grad.eq(0).all() for feature in outputs.pooled)


def test_the_teacher_learns_batch_statistics_in_training_and_keeps_them_in_evaluation() -> None:
    method = make_method()
    assert method.teacher.network.training
    running = method.teacher.network.features[2].running_mean  # type: ignore[index, union-attr]
    before = running.clone()
    method(*make_batch(), HALF)
    assert not torch.equal(running, before)
    assert not method.eval().teacher.network.training
    assert method.train().teacher.network.training


def test_the_teacher_and_what_it_learns_with_are_part_of_the_state() -> None:
    method = make_method()
    method(*make_batch(), HALF)
    other = make_method()
    other.load_state_dict(method.state_dict())
    torch.testing.assert_close(other.teacher.network.state_dict(), method.teacher.network.state_dict())
    assert method.report().keys() == {"teacher_labels", "teacher_adversarial"}


def test_it_says_what_it_lacks() -> None:
    with pytest.raises(UsageError, match=r"uda_kd adapts to a second domain; name it under data\.unlabeled"):
        UDAKD(replace(SETTING, teacher=Teacher(TinyNetwork())))
    with pytest.raises(UsageError, match=r"teacher"):
        UDAKD(replace(SETTING, unlabeled=True))


def test_the_final_exit_may_learn_alone() -> None:
    method = make_method(exits="final")
    outputs, batch = make_batch(requires_grad=True)
    method(outputs, batch, HALF).total.backward()
    assert len(method.discriminators) == 1
    (logits, _, _), _ = make_batch(requires_grad=True)
    hard = sum(F.cross_entropy(logits[KNOWN, k], batch.labels[KNOWN]) for k in range(K - 1))
    (plain,) = torch.autograd.grad(BETA * hard, logits)
    torch.testing.assert_close(outputs.logits.grad[:, : K - 1], plain[:, : K - 1])  # type: ignore[index]
    assert [feature.grad is None for feature in outputs.pooled] == [True, True, False]


def test_exits_of_different_widths_have_discriminators_of_their_own() -> None:
    setting = replace(SETTING, pooled_widths=(2, 7, D), teacher=Teacher(TinyNetwork()), unlabeled=True)
    method = UDAKD(setting, hidden=6)
    assert [d.layers[0].weight.shape for d in method.discriminators] == [(6, 2), (6, 7), (6, D)]
    assert len(method.discriminators) == K
