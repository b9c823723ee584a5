"""What every registered method must hold to, whoever wrote it."""

from __future__ import annotations

import math

import pytest
import torch
from exit_outputs import SETTING, batch_of, make_outputs

from edgemate.distillation import Loss, Method, Progress
from edgemate.registry import METHODS

# Those that need more than what all exits say of a batch; their own tests hold them to the same.
ELSEWHERE = {
    "dfa": "a teacher",
    "kd": "a teacher",
    "prokt": "a teacher",
    "rco": "a teacher",
    "safe_kd": "a copy of the network",
    "uda_kd": "a teacher and unlabeled images",
    "wsl": "a teacher",
}
EARLY = Progress(epoch=1, epochs=10, fraction=0.1)
NAMES = METHODS.names()


def build(name: str) -> Method:
    if name in ELSEWHERE:
        pytest.skip(f"needs {ELSEWHERE[name]}")
    torch.manual_seed(0)
    method: Method = METHODS.get(name)(SETTING)
    return method.train()


def loss_of(method: Method, seed: int = 0) -> Loss:
    outputs, labels = make_outputs(seed)
    loss: Loss = method(outputs, batch_of(labels), EARLY)
    return loss


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_a_finite_scalar_and_the_sum_of_its_terms(name: str) -> None:
    loss = loss_of(build(name))
    assert loss.total.shape == ()
    assert math.isfinite(loss.total.item())
    assert not any(term.requires_grad for term in loss.terms.values())
    torch.testing.assert_close(loss.total.detach(), sum(loss.terms.values(), start=torch.zeros(())))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_and_reach_every_exit_and_every_parameter(name: str) -> None:
    method = build(name)
    outputs, labels = make_outputs(1, requires_grad=True)
    total = method(outputs, batch_of(labels), EARLY).total
    if not total.requires_grad:
        pytest.skip("has no loss of its own")
    total.backward()
    assert outputs.logits.grad is not None
    assert (outputs.logits.grad.abs().sum((0, 2)) > 0).all()
    parameters = [parameter for parameter in method.parameters() if parameter.requires_grad]
    for tensor in (outputs.logits, *outputs.pooled, *parameters):
        assert tensor.grad is None or tensor.grad.isfinite().all()
    assert all(parameter.grad is not None for parameter in parameters)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_moves_nobodys_outputs(name: str) -> None:
    """Feature terms and gates read what the network gave; the network's own tensors stay as they are."""
    method = build(name)
    outputs, labels = make_outputs(2)
    method(outputs, batch_of(labels), EARLY)
    before = make_outputs(2)[0]
    torch.testing.assert_close(outputs.logits, before.logits, rtol=0, atol=0)
    for after, feature in zip(outputs.pooled, before.pooled, strict=True):
        torch.testing.assert_close(after, feature, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_method_restored_from_its_state_continues_alike(name: str) -> None:
    method = build(name)
    loss_of(method, 3)  # whatever it learns of a batch is in the state
    torch.manual_seed(1)
    restored: Method = METHODS.get(name)(SETTING).train()
    restored.load_state_dict(method.state_dict())
    assert restored.report() == method.report()
    for seed in (4, 5):
        torch.testing.assert_close(loss_of(restored, seed).total, loss_of(method, seed).total, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_teachers_have_as_many_classes_as_exits_and_reports_are_numbers(name: str) -> None:
    method = build(name)
    loss_of(method)
    logits = make_outputs(6)[0].logits
    teachers = method.teachers(logits)
    assert teachers is None or (teachers.shape[0], teachers.shape[2]) == (logits.shape[0], logits.shape[2])
    assert all(math.isfinite(value) for value in method.report().values())
