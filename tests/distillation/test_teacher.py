"""What a teacher is to the method that owns it: frozen, unseen, and as precise as the network that is trained."""

from pathlib import Path

import pytest
import torch
import torchvision
from exit_outputs import SETTING
from teachers import LinearNetwork, gray_batch, small_model, taught_by
from torch import Tensor, nn

from edgemate.config import Distillation
from edgemate.distillation import build_method
from edgemate.distillation.methods.kd import KD
from edgemate.distillation.teachers.networks import RunNetwork, TorchvisionNetwork
from edgemate.distillation.teachers.teacher import Teacher, TeacherNetwork
from edgemate.errors import RunError, UsageError
from edgemate.models import Backbone, MultiExitModel, Tap
from edgemate.models.heads.linear import linear
from edgemate.runs import write_tensors
from edgemate.training.checks import teacher_problem


class Normalized(TeacherNetwork):
    """Batch normalization, which tells training from evaluation."""

    width = 1

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.norm(images).mean((2, 3))
        return pooled, pooled


def test_a_frozen_teacher_is_not_part_of_its_method() -> None:
    method = KD(taught_by(LinearNetwork()))
    assert not list(method.parameters())
    assert not method.state_dict()
    assert not any(weight.requires_grad for weight in method.teacher.network.parameters())


@pytest.mark.parametrize("learns", [False, True])
def test_a_teacher_stays_in_evaluation_mode(learns: bool) -> None:
    teacher = Teacher(Normalized()).copy(learns)
    nn.Sequential(teacher).train()
    before = {name: value.clone() for name, value in teacher.network.named_buffers()}
    teacher(torch.randn(5, 1, 2, 2))
    assert all(torch.equal(value, before[name]) for name, value in teacher.network.named_buffers())


@pytest.mark.parametrize("learns", [False, True])
def test_a_teacher_goes_where_its_owner_goes(learns: bool) -> None:
    owner = nn.Sequential(Teacher(LinearNetwork(), renormalize=(torch.ones(1, 1, 1), torch.ones(1, 1, 1))).copy(learns))
    owner.to(torch.float64)
    assert owner(torch.zeros(1, 1, 2, 2, dtype=torch.float64)).logits.shape == (1, 4)


def test_a_learning_copy_has_weights_of_its_own_in_the_state() -> None:
    teacher = Teacher(LinearNetwork())
    learner = teacher.copy(learns=True)
    assert list(learner.state_dict()) == ["learner.classifier.weight"]
    learner(torch.ones(2, 1, 2, 2)).logits.sum().backward()
    with torch.no_grad():
        learner.network.classifier.weight.zero_()  # type: ignore[union-attr, operator]
    assert teacher.network.classifier.weight.abs().sum() > 0  # type: ignore[union-attr, operator]
    assert learner(torch.ones(2, 1, 2, 2)).logits.abs().sum() == 0
    assert not teacher(torch.ones(2, 1, 2, 2)).logits.requires_grad


def test_pixels_are_normalized_again_as_the_teacher_knows_them() -> None:
    pixels = torch.rand(3, 1, 2, 2)
    ours, theirs = (pixels - 0.2) / 0.5, (pixels - 0.3) / 0.1
    renormalize = (torch.tensor([[[0.5 / 0.1]]]), torch.tensor([[[(0.2 - 0.3) / 0.1]]]))
    teacher = Teacher(LinearNetwork(), renormalize=renormalize)
    torch.testing.assert_close(teacher(ours).pooled, theirs.flatten(1))


def test_a_teacher_has_its_own_autocast_and_sees_its_own_updates_there() -> None:
    teacher = Teacher(LinearNetwork(), autocast=torch.bfloat16).copy(learns=True)
    images = torch.ones(1, 1, 2, 2)
    exact = images.flatten(1) @ teacher.network.classifier.weight.T  # type: ignore[union-attr, operator]
    with torch.autocast("cpu", torch.bfloat16), torch.autocast("cpu", enabled=False):
        first = teacher(images).logits
        assert first.dtype == torch.float32
        assert not torch.equal(first, exact)
        torch.testing.assert_close(first, exact, rtol=0.05, atol=0.05)
        with torch.no_grad():
            teacher.network.classifier.weight.mul_(2)  # type: ignore[union-attr, operator]
        torch.testing.assert_close(teacher(images).logits, 2 * first)


def test_a_run_teaches_with_its_last_exits_answer() -> None:
    model, images = small_model().eval(), gray_batch().images
    network = RunNetwork(model)
    outputs = model.outputs(images)
    logits, pooled = network(images)
    torch.testing.assert_close(logits, outputs.logits[:, -1])
    torch.testing.assert_close(pooled, outputs.pooled[-1])
    weights = dict(model.state_dict()) | {"mixing": torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0.2, 0.3, 0.5]])}
    network.load(weights)
    torch.testing.assert_close(
        network(images)[0], outputs.logits.mul(torch.tensor([0.2, 0.3, 0.5]).view(1, 3, 1)).sum(1)
    )


def test_a_classifier_of_torchvision_gives_what_its_last_layer_reads() -> None:
    torch.manual_seed(0)
    network = TorchvisionNetwork(torchvision.models.shufflenet_v2_x0_5(num_classes=3)).eval()
    with torch.no_grad():
        logits, pooled = network(torch.randn(2, 3, 32, 32))
        torch.testing.assert_close(network.net.fc(pooled), logits)  # type: ignore[union-attr, operator]
    assert pooled.shape == (2, network.width)
    with pytest.raises(UsageError, match="no linear layer"):
        TorchvisionNetwork(torchvision.models.squeezenet1_1())


def test_a_teacher_takes_the_weights_of_an_epoch_that_was_kept(tmp_path: Path) -> None:
    for epoch in (1, 4):
        write_tensors(tmp_path / f"{epoch}", {"classifier.weight": torch.full((4, 4), float(epoch))})
    write_tensors(tmp_path / "other", {"weight": torch.zeros(1)})
    route = {4: tmp_path / "4", 1: tmp_path / "1", 9: tmp_path / "other"}
    teacher = Teacher(LinearNetwork(), route=route)
    assert list(teacher.route) == [1, 4, 9]
    for epoch in (4, 1):
        teacher.load_epoch(epoch)
        assert teacher(torch.ones(1, 1, 2, 2)).logits[0, 0] == 4 * epoch
    with pytest.raises(RunError, match="other: not weights of the teacher's network"):
        teacher.load_epoch(9)


def test_a_teacher_is_named_exactly_where_one_is_needed() -> None:
    assert teacher_problem(Distillation(method="mate")) is None
    assert teacher_problem(Distillation(method="kd", teacher="runs/x")) is None
    assert "wsl needs a teacher and there is none" in str(teacher_problem(Distillation(method="wsl")))
    assert "mate has no use for runs/x" in str(teacher_problem(Distillation(method="mate", teacher="runs/x")))
    several = {"methods": ["mate", "kd"]}
    assert teacher_problem(Distillation.model_validate(several | {"teacher": "runs/x"})) is None
    assert "kd needs a teacher" in str(teacher_problem(Distillation.model_validate(several)))


@pytest.mark.parametrize("name", ["kd", "wsl", "prokt", "rco", "dfa"])
def test_a_method_without_its_teacher_says_so(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} needs a teacher; name one under distillation.teacher"):
        build_method(Distillation(method=name), SETTING)


def test_several_feature_maps_at_a_cut_are_refused() -> None:
    class Two(nn.Module):
        def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"features": features["image"], "other": features["image"]}

    backbone = Backbone({"one": Two()}, {"one": Tap(1, 1, 0)}, ("one",))
    model = MultiExitModel(backbone, None, lambda tap: linear(tap, 4))
    setting = taught_by(RunNetwork(model))
    with pytest.raises(UsageError, match="passes one feature map from block to block"):
        build_method(Distillation(method="dfa"), setting)
