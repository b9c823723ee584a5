"""Mixing weights of the deployed network, by recipe and method."""

from dataclasses import replace

import pytest
import torch
from exit_outputs import SETTING
from torch.nn import functional as F

from edgemate.distillation import Setting
from edgemate.distillation.combined import Combined
from edgemate.distillation.method import deployed_mixing
from edgemate.distillation.methods.boosted import Boosted
from edgemate.distillation.methods.joint_ce import JointCE
from edgemate.distillation.methods.mate import MATE
from edgemate.models import softmax_mixing

MEAN, LEARNED = replace(SETTING, ensemble="mean"), replace(SETTING, ensemble="learned")


def test_nothing_is_mixed_unless_the_recipe_or_the_method_says_so() -> None:
    assert deployed_mixing(JointCE(SETTING)) is None
    assert deployed_mixing(MATE(SETTING)) is None
    weights = deployed_mixing(Boosted(SETTING))
    assert weights is not None
    assert weights[2].tolist() == [0.25, 0.5, 1]


@pytest.mark.parametrize("method", [JointCE, MATE])
def test_the_mean_is_there_for_every_method(method: type) -> None:
    weights = deployed_mixing(method(MEAN))
    assert weights is not None
    torch.testing.assert_close(weights, torch.tensor([[1, 0, 0], [1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3]]))


def test_a_row_keeps_its_proportions_among_the_exits_so_far() -> None:
    scores = torch.tensor([[0.0, 5, 9], [1, 2, 7], [3, 2, 1]])
    rows = softmax_mixing(scores)
    whole = F.softmax(scores, -1)
    assert not rows.triu(1).any()
    for k in range(3):
        torch.testing.assert_close(rows[k, : k + 1], whole[k, : k + 1] / whole[k, : k + 1].sum())


def test_mates_learned_ensemble_is_each_exits_primary_teacher_of_the_exits_so_far() -> None:
    method = MATE(LEARNED)
    with torch.no_grad():
        method.scores.copy_(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))
    weights = deployed_mixing(method)
    assert weights is not None
    torch.testing.assert_close(weights, softmax_mixing(method.scores))
    within = deployed_mixing(MATE(LEARNED, reach=0))
    assert within is not None
    assert torch.isfinite(within).all()


def test_two_teachers_serve_three_exits() -> None:
    method = MATE(LEARNED, teachers=2)
    with torch.no_grad():
        method.scores.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 2]]))
    weights = deployed_mixing(method)
    assert weights is not None
    # Exit 2 lies between both; its primary teacher is the shallower one.
    torch.testing.assert_close(weights, softmax_mixing(method.scores[[0, 0, 1]]))


@pytest.mark.parametrize("options", [{"weights": "uniform"}, {"weights": "last_exit"}, {"attention": True}])
def test_weights_that_are_not_learned_or_not_the_same_for_every_image_are_no_ensemble(options: dict) -> None:
    assert deployed_mixing(MATE(LEARNED, **options)) is None


@pytest.mark.parametrize("setting", [SETTING, MEAN, LEARNED])
def test_beside_another_method_it_is_the_same(setting: Setting) -> None:
    both = Combined(setting, ["joint_ce", "mate"], [JointCE(setting), MATE(setting)], [1, 1])
    alone, combined = deployed_mixing(MATE(setting)), deployed_mixing(both)
    assert (alone is None) == (combined is None)
    if alone is not None and combined is not None:
        torch.testing.assert_close(combined, alone)
