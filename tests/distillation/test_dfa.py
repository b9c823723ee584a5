"""DFA: what is grouped, and which parameters each stage trains, on which half of the batch."""

import pytest
import torch
from exit_outputs import START
from teachers import Fixed, gray_batch, small_model, taught_by
from torch import Tensor, nn
from torch.nn import functional as F

from edgemate.distillation import Batch, Loss, Progress, Setting
from edgemate.distillation.methods.dfa import DFA
from edgemate.distillation.teachers.networks import RunNetwork
from edgemate.distillation.teachers.teacher import Teacher
from edgemate.errors import UsageError
from edgemate.models import MultiExitModel, Tap
from edgemate.models.cifar_resnet import resnet20
from edgemate.models.heads.linear import linear

LATE = Progress(epoch=9, epochs=10, fraction=0.9)


def teacher_network(width: int = 4) -> RunNetwork:
    torch.manual_seed(1)

    def head(tap: Tap) -> nn.Module:
        return linear(tap, 4)

    return RunNetwork(MultiExitModel(resnet20(1, width=width), ["stage3"], head))  # type: ignore[arg-type]


def student_and_method(teacher_width: int = 4, **options: object) -> tuple[MultiExitModel, DFA]:
    model = small_model()
    teacher = Teacher(teacher_network(teacher_width), shape=(1, 8, 8))
    setting = Setting(model.exits, 4, model.pooled_widths, taps=model.taps, teacher=teacher)
    method = DFA(setting, **options)  # type: ignore[arg-type]
    method.bind(model)
    return model.train(), method.train()


def loss_of(model: MultiExitModel, method: DFA, batch: Batch, progress: Progress = START) -> Loss:
    return method(model.outputs(batch.images), batch, progress)


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: one.grad for name, one in module.named_parameters() if one.grad is not None and one.grad.any()}


def test_an_exits_group_is_the_teachers_maps_at_its_depth() -> None:
    _, method = student_and_method()
    assert method.groups == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert list(method.report().values()) == pytest.approx([1 / 3] * 9)
    assert list(method.report())[3:6] == ["exit2_block4", "exit2_block5", "exit2_block6"]
    _, final = student_and_method(exits="final")
    assert final.groups == [[6, 7, 8]]
    assert list(final.report()) == ["exit3_block7", "exit3_block8", "exit3_block9"]


def test_the_search_trains_student_connectors_and_weights_but_no_teacher() -> None:
    model, method = student_and_method(teacher_width=8)
    loss_of(model, method, gray_batch()).total.backward()
    assert {name.split(".")[0] for name in gradients(method)} == {"scores", "to_teacher", "to_student"}
    assert len([name for name in gradients(method) if name.startswith("scores")]) == 3
    assert gradients(model).keys() == dict(model.named_parameters()).keys()
    assert not gradients(method.teacher.network)


def test_the_imitation_trains_student_and_one_connector_and_keeps_the_weights() -> None:
    model, method = student_and_method(teacher_width=8)
    loss_of(model, method, gray_batch(), LATE).total.backward()
    assert {name.split(".")[0] for name in gradients(method)} == {"to_teacher"}
    assert gradients(model).keys() == dict(model.named_parameters()).keys()


def test_the_weights_learn_from_the_second_half_alone_and_nothing_else_does() -> None:
    batch = gray_batch(6)
    held_out = torch.tensor([0, 1, 0, 1, 0, 1], dtype=torch.bool)
    found = []
    for changed in (None, held_out, ~held_out):
        labels = batch.labels if changed is None else torch.where(changed, (batch.labels + 1) % 4, batch.labels)
        model, method = student_and_method()
        loss = loss_of(model, method, Batch(batch.images, labels))
        (loss.total - F.cross_entropy(model(batch.images).flatten(0, 1), labels.repeat_interleave(3)) * 3).backward()
        found.append((gradients(method), loss.terms))
    (plain, terms), (other_held_out, terms_then), (other_trained, _) = found
    for name, gradient in plain.items():
        of_weights = name.startswith("scores")
        assert torch.allclose(gradient, other_held_out[name]) != of_weights, name
        assert torch.allclose(gradient, other_trained[name]) == of_weights, name
    for name in ("to_teacher", "to_student"):
        assert terms[name] == terms_then[name]


@pytest.mark.parametrize("images", [2, 3])
def test_a_batch_of_two_or_three_images_is_both_halves(images: int) -> None:
    model, method = student_and_method()
    batch = gray_batch(images)
    loss_of(model, method, Batch(batch.images[..., :2, :2], batch.labels)).total.backward()  # maps of 1×1 at the end
    assert {name.split(".")[0] for name in gradients(method)} >= {"to_teacher", "to_student"}


def test_the_terms_sum_to_the_total_in_both_stages() -> None:
    model, method = student_and_method()
    for progress, names in ((START, {"labels", "to_teacher", "to_student"}), (LATE, {"labels", "features"})):
        loss = loss_of(model, method, gray_batch(), progress)
        assert loss.terms.keys() == names
        assert loss.total.item() == pytest.approx(float(sum(loss.terms.values())), rel=1e-5)


def test_the_bridges_are_the_formulas() -> None:
    """Connectors that change nothing leave: a stage's map of one network, the rest of the other, and its last exit."""
    model, method = student_and_method()
    for connectors in ("to_teacher", "to_student"):
        setattr(method, connectors, nn.ModuleList(nn.Identity() for _ in range(3)))
    with torch.no_grad():
        method.scores[1].copy_(torch.tensor([0.0, 1.0, -1.0]))
    batch = gray_batch()
    trained, held_out = slice(0, None, 2), slice(1, None, 2)
    teacher, own = teacher_network().eval(), model.outputs(batch.images).maps
    maps, features = [], {"image": batch.images}
    for block in teacher.blocks:
        features = block(features)
        maps.append(features["features"].detach())

    def student(k: int, feature_map: Tensor, part: slice) -> Tensor:
        passed = {"features": feature_map[part]}
        for stage in model.stages[k + 1 :]:
            passed = stage(passed)
        return F.cross_entropy(model.heads[-1](passed)[0], batch.labels[part])

    to_teacher, to_student, judged = torch.zeros(()), torch.zeros(()), torch.zeros(())
    scores = [one.detach().clone().requires_grad_() for one in method.scores]
    for k, group in enumerate(method.groups):
        target = sum(w * maps[j] for w, j in zip(scores[k].softmax(0), group, strict=True))
        assert isinstance(target, Tensor)
        passed = {"features": own[k][trained]}
        for block in teacher.blocks[group[-1] + 1 :]:
            passed = block(passed)
        to_teacher = to_teacher + F.cross_entropy(teacher.classify(passed), batch.labels[trained])
        to_student = to_student + student(k, target, trained)
        judged = judged + student(k, target, held_out)
    loss = loss_of(model, method, batch)
    assert loss.terms["to_teacher"].item() == pytest.approx(to_teacher.item(), rel=1e-5)
    assert loss.terms["to_student"].item() == pytest.approx(to_student.item(), rel=1e-5)
    loss.total.backward()
    for ours, theirs in zip(method.scores, torch.autograd.grad(judged, scores), strict=True):
        torch.testing.assert_close(ours.grad, theirs, rtol=1e-4, atol=1e-7)


def test_the_features_are_pulled_to_the_weighted_sum_of_the_group() -> None:
    model, method = student_and_method(beta=2.0)
    method.to_teacher = nn.ModuleList(nn.Identity() for _ in range(3))
    with torch.no_grad():
        method.scores[0].copy_(torch.tensor([0.0, 1.0, -1.0]))
    batch = gray_batch()
    outputs = model.outputs(batch.images)
    maps, features = [], {"image": batch.images}
    for block in teacher_network().eval().blocks:
        features = block(features)
        maps.append(features["features"])
    expected = torch.zeros(())
    for k, group in enumerate(method.groups):
        weights = method.scores[k].softmax(0)
        target = sum(weight * maps[j] for weight, j in zip(weights, group, strict=True))
        expected = expected + 2.0 * ((outputs.maps[k] - target) ** 2).mean()
    assert method(outputs, batch, LATE).terms["features"] == pytest.approx(expected.item(), rel=1e-4)


def test_the_students_statistics_are_those_of_its_own_maps() -> None:
    model, method = student_and_method()
    other = small_model().train()
    batch = gray_batch()
    other.outputs(batch.images)
    loss_of(model, method, batch)
    theirs = dict(other.named_buffers())
    assert all(torch.equal(value, theirs[name]) for name, value in model.named_buffers() if value is not None)


def test_maps_of_other_sizes_are_fitted() -> None:
    model, method = student_and_method()
    batch = gray_batch()
    outputs = model.outputs(batch.images)
    halved = outputs._replace(maps=tuple(F.avg_pool2d(one, 2) for one in outputs.maps))
    for progress in (START, LATE):
        assert torch.isfinite(method(halved, batch, progress).total)


def test_a_network_that_is_not_of_a_run_is_refused() -> None:
    with pytest.raises(UsageError, match="block by block, which needs a run's network"):
        DFA(taught_by(Fixed(0, 0)))
