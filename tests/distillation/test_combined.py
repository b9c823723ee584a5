from typing import Any

import pytest
import torch
from exit_outputs import SETTING, START, K, N, batch_of, make_outputs
from torch import Tensor

from edgemate.config import Distillation
from edgemate.distillation import Batch, Loss, Method, Progress, Setting, build_method
from edgemate.distillation.combined import Combined
from edgemate.distillation.methods.eed import EED
from edgemate.distillation.methods.gradient_equilibrium import GradientEquilibrium
from edgemate.distillation.methods.joint_ce import JointCE
from edgemate.distillation.methods.mate import MATE
from edgemate.errors import UsageError
from edgemate.models import ExitOutputs, Features


def built(*methods: Any, setting: Setting = SETTING) -> Method:
    options: dict[str, Any] = {"eed": {"logits": "mse", "features_weight": 0.0}}
    parts = [method if isinstance(method, dict) else {"name": method} for method in methods]
    parts = [{"options": options.get(part["name"], {}), **part} for part in parts]
    return build_method(Distillation.model_validate({"methods": parts}), setting)


def test_the_loss_is_the_weighted_sum_and_its_terms_carry_names_and_weights() -> None:
    outputs, labels = make_outputs(1)
    loss = built("mate", {"name": "eed", "weight": 0.5})(outputs, batch_of(labels), START)
    mate = MATE(SETTING)(outputs, batch_of(labels), START)
    eed = EED(SETTING, features_weight=0.0)(outputs, batch_of(labels), START)
    torch.testing.assert_close(loss.total, mate.total + 0.5 * eed.total)
    torch.testing.assert_close(loss.terms["eed.ensemble"], 0.5 * eed.terms["ensemble"])
    torch.testing.assert_close(loss.terms["mate.teacher_gap"], mate.terms["teacher_gap"])
    torch.testing.assert_close(loss.total, torch.stack(list(loss.terms.values())).sum())


def test_every_method_moves_what_it_moves_alone() -> None:
    outputs, labels = make_outputs(2, requires_grad=True)
    combined = built({"name": "mate", "weight": 2.0}, "eed")
    combined(outputs, batch_of(labels), START).total.backward()
    again, _ = make_outputs(2, requires_grad=True)
    mate = MATE(SETTING)
    (2 * mate(again, batch_of(labels), START).total).backward()
    EED(SETTING, features_weight=0.0)(again, batch_of(labels), START).total.backward()
    torch.testing.assert_close(outputs.logits.grad, again.logits.grad)
    (scores,) = combined.parameters()
    torch.testing.assert_close(scores.grad, mate.scores.grad)


def test_teachers_and_mixing_are_those_of_the_first_that_has_them() -> None:
    setting = Setting(K, 4, (5,) * K, ensemble="learned")
    combined = built("joint_ce", "mate", "eed", setting=setting)
    logits = make_outputs()[0].logits
    assert combined.teachers(logits).shape == (N, K, 4)  # type: ignore[union-attr]
    torch.testing.assert_close(combined.mixing(), MATE(setting).mixing())
    assert built("joint_ce").teachers(logits) is None
    assert built("joint_ce").mixing() is None
    assert combined.report()["mate.teacher1_exit1"] == MATE(setting).report()["teacher1_exit1"]


class StepsItself(JointCE):
    needs_teacher = True

    def optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)]


def test_optimizers_and_needs_are_those_of_all() -> None:
    combined = Combined(
        SETTING, ["a", "b", "c"], [JointCE(SETTING), StepsItself(SETTING), StepsItself(SETTING)], [1] * 3
    )
    assert len(combined.optimizers()) == 2
    assert combined.needs_teacher
    assert not built("mate", "eed").needs_teacher


class HalvesWhatIsRead(GradientEquilibrium):
    """Another method with a say at the cuts: the head reads half of everything."""

    def at_cut(self, exit: int, features: Features) -> tuple[Features, Features]:
        return {name: tensor / 2 for name, tensor in features.items()}, features


@pytest.mark.parametrize("first", [True, False])
def test_at_a_cut_one_method_follows_the_other(first: bool) -> None:
    """x reaches the head halved; back come .5 from the head and (K−1) times 1 from what follows, over K."""
    methods = [HalvesWhatIsRead(SETTING), GradientEquilibrium(SETTING)][:: 1 if first else -1]
    combined = Combined(SETTING, ["a", "b"], methods, [1.0, 1.0])
    x = torch.tensor(2.0, requires_grad=True)
    read, passed = combined.at_cut(1, {"x": x})
    assert (read["x"].item(), passed["x"].item()) == (1, 2)
    (read["x"] + passed["x"]).backward()
    assert float(x.grad) == pytest.approx((0.5 + (K - 1)) / K)  # type: ignore[arg-type]


class CountsImages(Method):
    """Its loss is how many images it is shown."""

    def forward(self, outputs: ExitOutputs, batch: Batch, progress: Progress) -> Loss:
        shown: Tensor = torch.tensor(float(len(batch.labels)))
        assert outputs.logits.shape[0] == outputs.pooled[0].shape[0] == len(batch.images) == len(batch.labels)
        return Loss(shown, {"images": shown})


class SeesAll(CountsImages):
    uses_unlabeled = True


def test_unlabeled_images_reach_only_those_that_use_them() -> None:
    outputs, labels = make_outputs()
    labels[2:] = -1
    combined = Combined(SETTING, ["all", "labeled"], [SeesAll(SETTING), CountsImages(SETTING)], [1.0, 1.0])
    assert combined.uses_unlabeled
    assert not built("mate", "eed").uses_unlabeled
    terms = combined(outputs, batch_of(labels), START).terms
    assert (terms["all.images"], terms["labeled.images"]) == (N, 2)


@pytest.mark.parametrize(
    "distillation",
    [{"method": "gradient_equilibrium"}, {"methods": ["gradient_equilibrium"]}],
    ids=["method", "methods"],
)
def test_what_has_no_loss_of_its_own_needs_company(distillation: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"gradient_equilibrium has no loss .* methods: \[joint_ce, gradient_equi"):
        build_method(Distillation.model_validate(distillation), SETTING)
    outputs, labels = make_outputs()
    loss = built("joint_ce", "gradient_equilibrium")(outputs, batch_of(labels), START)
    torch.testing.assert_close(loss.total, JointCE(SETTING)(outputs, batch_of(labels), START).total)


def test_sums_of_logits_stand_beside_nothing_that_reads_an_exits_own() -> None:
    with pytest.raises(UsageError, match="boosted trains sums of logits, and mate would read"):
        built("boosted", "mate")
    together = built("boosted", "gradient_equilibrium")
    mixing = together.mixing()
    assert mixing is not None
    torch.testing.assert_close(mixing, built({"name": "boosted"}).mixing())
