"""`distillation.scale: labels`: what the labels weigh in a method's loss, and losses in which they weigh the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from any_method import LABELS, any_method
from exit_outputs import SETTING, C
from teachers import gray_batch
from torch import Tensor
from torch.nn import functional as F

from edgemate.config import Distillation
from edgemate.distillation import Batch, Progress
from edgemate.distillation.building import build_method
from edgemate.errors import UsageError
from edgemate.models import ExitOutputs
from edgemate.registry import METHODS

SILENT = {"prokt", "uda_kd"}
# Their soft terms depend on the labels too: on the true class against the rest, and on how far an exit is behind.
LABELS_ELSEWHERE = {"safe_kd", "wsl"}
BEGINNING = Progress(epoch=0, epochs=10, fraction=0.0)


def gradient(name: str, folder: Path, labels: Tensor) -> tuple[Tensor, float | None]:
    """What a method's loss makes flow to the logits, (N, K, C), and what it says that labels weigh."""
    model, method = any_method(name, folder)
    images = gray_batch(len(labels)).images
    torch.manual_seed(1)
    outputs = model.outputs(images, method.at_cut)
    logits = outputs.logits.detach().requires_grad_()
    total = method(outputs._replace(logits=logits), Batch(images, labels), BEGINNING).total
    return torch.autograd.grad(total, logits)[0], method.label_weight


@pytest.mark.parametrize("name", sorted(set(METHODS.names()) - SILENT - LABELS_ELSEWHERE - {"gradient_equilibrium"}))
def test_the_labels_weigh_what_a_method_says(name: str, tmp_path: Path) -> None:
    """Only cross-entropy reads the labels, and is linear in them: others change its gradient by their difference."""
    others = (LABELS + 1) % C
    one, said = gradient(name, tmp_path, LABELS)
    other, _ = gradient(name, tmp_path, others)
    step = (F.one_hot(LABELS, C) - F.one_hot(others, C)).float() / len(LABELS)
    weights = -((one - other) * step[:, None]).sum((0, 2)) / step.square().sum()
    assert said == pytest.approx(float(weights.mean()), rel=1e-4)


@pytest.mark.parametrize("name", sorted(LABELS_ELSEWHERE))
def test_labels_in_soft_terms_are_not_counted(name: str, tmp_path: Path) -> None:
    assert any_method(name, tmp_path)[1].label_weight == 1


@pytest.mark.parametrize(
    "given",
    [
        {"method": "joint_ce"},
        {"method": "last_exit"},
        {"method": "mate"},
        {"methods": ["joint_ce", "gradient_equilibrium"]},
        {"methods": [{"name": "mate", "weight": 0.3}, "last_exit"]},
    ],
)
def test_scaled_by_the_labels_they_weigh_one(given: dict[str, object]) -> None:
    method = build_method(Distillation.model_validate({**given, "scale": "labels"}), SETTING)
    assert method.label_weight == pytest.approx(1)
    assert build_method(Distillation.model_validate(given), SETTING).label_weight is not None


def test_a_loss_is_scaled_and_otherwise_the_same() -> None:
    logits = torch.randn(6, SETTING.exits, C, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def grad(**given: object) -> Tensor:
        method = build_method(Distillation.model_validate({"method": "mate", **given}), SETTING)
        pooled = tuple(torch.zeros(6, width) for width in SETTING.pooled_widths)
        loss = method(ExitOutputs(logits, pooled), Batch(torch.zeros(6, 1, 1, 1), LABELS), BEGINNING)
        return torch.autograd.grad(loss.total, logits)[0]

    torch.testing.assert_close(2 * grad(scale="labels"), grad())


@pytest.mark.parametrize("name", ["prokt", "uda_kd"])
def test_a_method_that_does_not_say_is_refused(name: str, tmp_path: Path) -> None:
    setting = any_method(name, tmp_path)[1].setting
    with pytest.raises(UsageError, match=f"scale: {name} does not say"):
        build_method(Distillation(method=name, scale="labels"), setting)


@pytest.mark.parametrize(
    "given",
    [
        {"method": "byot", "options": {"alpha": 1.0, "beta": 0.0}},
        {"method": "joint_ce", "options": {"weights": [0.0] * SETTING.exits}},
    ],
)
def test_labels_that_weigh_nothing_cannot_be_the_scale(given: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"scale: the labels weigh nothing in (byot|joint_ce) as it is set"):
        build_method(Distillation.model_validate({**given, "scale": "labels"}), SETTING)
