"""Class weights: every registered method gives an image as much weight as its class has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from any_method import any_method, loss_of
from exit_outputs import C, make_outputs
from sklearn.utils.class_weight import compute_class_weight
from toy_data import prepare

from edgemate.distillation.terms import cross_entropies
from edgemate.errors import RecipeError
from edgemate.registry import METHODS
from edgemate.training.checks import check_early
from edgemate.training.class_weights import balanced_weights, class_weights
from edgemate.training.freezing_checks import method_constant
from recipes import small_recipe

# Of these the exits' whole loss depends on a teacher that is stepped by its own labels first.
TERM = {"prokt": "teacher_labels", "uda_kd": "labels"}
WITHOUT_LABELS = ("gradient_equilibrium",)


@pytest.mark.parametrize("name", METHODS.names())
def test_every_method_weighs_an_image_by_its_class(name: str, tmp_path: Path) -> None:
    def value(*weights: float) -> float:
        model, method = any_method(name, tmp_path, class_weights=weights or None)
        assert method.weighs_classes
        loss = loss_of(model, method)
        return float((loss.terms[TERM[name]] if name in TERM else loss.total).detach())

    rest, plain = value(0, 0, 0, 0), value()
    assert value(1, 1, 1, 1) == pytest.approx(plain, rel=1e-5)
    parts = [value(*row) - rest for row in np.eye(C).tolist()]
    if name in WITHOUT_LABELS:
        assert plain == rest
        return
    assert min(parts) > 1e-3, "labels of every class count"
    weights = (0.5, 2.0, 3.0, 0.25)
    expected = rest + sum(weight * part for weight, part in zip(weights, parts, strict=True))
    assert value(*weights) == pytest.approx(expected, rel=1e-4)


def test_the_mean_stays_one_over_all_images_with_smoothing_too() -> None:
    outputs, labels = make_outputs()
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    each = torch.stack([cross_entropies(outputs.logits[i : i + 1], labels[i : i + 1], 0.1) for i in range(len(labels))])
    expected = (weights[labels].unsqueeze(1) * each).mean(0)
    torch.testing.assert_close(cross_entropies(outputs.logits, labels, 0.1, weights), expected)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    labels = np.repeat(np.arange(4), [1, 5, 20, 7])
    theirs = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    assert balanced_weights(labels, 4) == pytest.approx(theirs.tolist())
    assert balanced_weights(labels, 6)[4:] == (1.0, 1.0), "classes without an image"


def test_a_list_needs_a_number_per_class() -> None:
    data = prepare("digits")
    assert class_weights([2.0] * 10, data, "r.yaml") == (2.0,) * 10
    assert class_weights("none", data, "r.yaml") is None
    balanced = class_weights("balanced", data, "r.yaml")
    assert balanced is not None
    assert np.mean(np.array(balanced)[data.source.train.labels[data.splits.train]]) == pytest.approx(1)
    with pytest.raises(RecipeError, match=r"r\.yaml: optimization\.class_weights: has 2 numbers, and digits has 10 cl"):
        class_weights([1.0, 2.0], data, "r.yaml")


PLAIN = """
from torch.nn import functional as F
from edgemate.distillation import Loss, Method


class Plain(Method):
    def forward(self, outputs, batch, progress):
        total = F.cross_entropy(outputs.logits[:, -1], batch.labels)
        return Loss(total, {"labels": total.detach()})
"""


def test_a_method_that_does_not_weigh_classes_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_method.py").write_text(PLAIN)
    monkeypatch.syspath_prepend(tmp_path)
    check_early(small_recipe("distillation.method=own_method:Plain"), "small.yaml")
    for asked in ("balanced", "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"):
        recipe = small_recipe("distillation.method=own_method:Plain", f"optimization.class_weights={asked}")
        with pytest.raises(RecipeError, match=r"^small\.yaml: optimization\.class_weights: own_method:Plain does not"):
            check_early(recipe, "small.yaml")
    for name in METHODS.names():
        assert method_constant(name, "weighs_classes"), "read without an import"


@pytest.mark.parametrize("value", ["foo", "[]", "[1, -1]", "[1, a]", "[true]", "3", "null"])
def test_other_values_are_one_line(value: str) -> None:
    with pytest.raises(RecipeError, match=r"optimization\.class_weights: .* should be none, balanced, or") as caught:
        small_recipe(f"optimization.class_weights={value}")
    assert len(str(caught.value).splitlines()) == 1


def test_classes_are_balanced_once() -> None:
    recipe = small_recipe("optimization.class_weights=balanced", "data.sampling=balanced")
    with pytest.raises(RecipeError, match=r"optimization\.class_weights: data\.sampling is balanced too") as caught:
        check_early(recipe, "small.yaml")
    assert len(str(caught.value).splitlines()) == 1
