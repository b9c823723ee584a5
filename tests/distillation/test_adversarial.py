import math

import pytest
import torch
from torch.nn import functional as F

from edgemate.distillation.adversarial import DomainDiscriminator, reversal_strength


def features(seed: int = 0) -> torch.Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def make_discriminator() -> DomainDiscriminator:
    torch.manual_seed(1)
    return DomainDiscriminator(4, 8)


@pytest.mark.parametrize("is_source", [True, False])
def test_the_loss_is_binary_cross_entropy_of_the_domain(is_source: bool) -> None:
    discriminator, given = make_discriminator(), features()
    logit = discriminator.layers(given).squeeze(1)
    expected = F.binary_cross_entropy_with_logits(logit, torch.full((6,), float(is_source)))
    for strength in (0.0, 0.3, 1.0):
        torch.testing.assert_close(discriminator(given, is_source, strength), expected)


def test_the_feature_gets_the_gradient_reversed_and_the_discriminator_as_it_is() -> None:
    plain, given = make_discriminator(), features()
    F.binary_cross_entropy_with_logits(plain.layers(given).squeeze(1), torch.ones(6)).backward()
    assert given.grad is not None

    reversed_, moved = make_discriminator(), features()
    reversed_(moved, True, 0.25).backward()
    torch.testing.assert_close(moved.grad, -0.25 * given.grad)
    for one, other in zip(plain.parameters(), reversed_.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_by_hand_on_one_number() -> None:
    # One feature f = 2, a network that says w·f with w = 1: the loss is log(1 + e^−2), its derivative by f −w·σ(−2).
    discriminator = DomainDiscriminator(1, 1)
    with torch.no_grad():
        for parameter in discriminator.parameters():
            parameter.fill_(1.0 if parameter.ndim == 2 else 0.0)
    feature = torch.tensor([[2.0]], requires_grad=True)
    loss = discriminator(feature, True, 0.5)
    loss.backward()
    sigmoid = 1 / (1 + math.exp(2))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)))
    assert feature.grad is not None
    assert feature.grad.item() == pytest.approx(0.5 * sigmoid)


def test_without_strength_nothing_reaches_the_feature() -> None:
    discriminator, given = make_discriminator(), features()
    discriminator(given, False, 0.0).backward()
    assert given.grad is None
    assert discriminator.layers[0].weight.grad is not None


def test_the_strength_grows_from_nothing_to_almost_all() -> None:
    assert reversal_strength(0.0) == 0
    assert reversal_strength(0.1) == pytest.approx(2 / (1 + math.exp(-1)) - 1)
    assert 0.9998 < reversal_strength(1.0) < 1
