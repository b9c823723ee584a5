"""Training with a teacher: what may be named, what is refused before any work, and that a killed run ends the same."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from processors import native_bf16
from rich.console import Console
from toy_data import archive

from edgemate.config import Recipe
from edgemate.core.input_spec import InputSpec
from edgemate.distillation import Setting, build_method
from edgemate.distillation.teachers.loading import find_teacher, load_teacher
from edgemate.distillation.teachers.run_teacher import RunTeacher
from edgemate.distillation.teachers.teacher import Teacher
from edgemate.errors import RecipeError, RunError, UsageError
from edgemate.evaluation import trained_model
from edgemate.models import build_model
from edgemate.runs import Run, read_tensors, write_tensors
from edgemate.training import callbacks, check_recipe, train
from edgemate.training.task import MultiExitTask
from edgemate.training.trainer import prepare_data
from recipes import small_recipe

TEACHER = ("exits.at=[stage3]", "exits.head=linear", "exits.options={}", "distillation.method=joint_ce")
FEW = "data.train_limit=192"
RGB = InputSpec(channels=3, height=32, width=32, mean=(0.5,) * 3, std=(0.5,) * 3)
TEN = tuple("0123456789")


def trained(path: Path, *overrides: str, resume: bool = False) -> Run:
    return train(small_recipe(*overrides), path, resume=resume, console=Console(file=io.StringIO()))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("runs") / "teacher"
    return trained(path, *TEACHER, "model.options.width=8", "training.keep_every=2", "optimization.epochs=5")


def student(teacher: Run | str, method: str, *overrides: str) -> tuple[str, ...]:
    reference = str(teacher.path) if isinstance(teacher, Run) else teacher
    return (f"distillation.method={method}", f"distillation.teacher={reference}", FEW, *overrides)


def loaded(recipe: Recipe) -> Teacher:
    found = load_teacher(recipe.distillation.teacher, prepare_data(recipe), "r.yaml")
    assert found is not None
    return found


def weights_of(run: Run) -> dict[str, torch.Tensor]:
    own = read_tensors(run.method_path) if run.method_path.exists() else {}
    return read_tensors(run.model_path) | {f"method.{name}": value for name, value in own.items()}


def test_kept_epochs_are_the_route_to_the_final_weights(teacher: Run) -> None:
    kept = teacher.kept_epochs()
    assert list(kept) == [2, 4, 5]
    assert kept[4] == teacher.epoch_path(4)
    final = read_tensors(teacher.model_path)
    assert all(torch.equal(value, final[name]) for name, value in read_tensors(kept[5]).items())
    assert not all(torch.equal(value, final[name]) for name, value in read_tensors(kept[4]).items())


def test_kept_epochs_are_averaged_where_the_network_is(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", *TEACHER, FEW, "training.keep_every=9", "optimization.ema=0.9")
    final = read_tensors(run.model_path)
    assert list(run.kept_epochs()) == [3]
    assert all(torch.equal(value, final[name]) for name, value in read_tensors(run.epoch_path(3)).items())


def test_a_run_a_checkpoint_or_a_kept_epoch_may_teach(teacher: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(teacher.path.parent)
    golden, _ = teacher.read_golden()
    images = torch.from_numpy(golden)
    with torch.no_grad():
        expected = trained_model(teacher)(images)[:, -1]
    metadata = input_of(teacher)
    recipe = small_recipe(
        *student("teacher", "kd"), f"data.mean={list(metadata.mean)}", f"data.std={list(metadata.std)}"
    )
    by_reference = {
        reference: loaded(recipe_with(recipe, reference))(images).logits
        for reference in ("teacher", "teacher/checkpoints/last.ckpt", "teacher/checkpoints/epoch_5.safetensors")
    }
    for logits in by_reference.values():
        torch.testing.assert_close(logits, expected)
    other = loaded(recipe_with(recipe, "teacher/checkpoints/epoch_2.safetensors"))(images).logits
    assert not torch.allclose(other, expected)


def input_of(run: Run) -> InputSpec:
    return InputSpec.from_json(run.read_metadata().input)


def recipe_with(recipe: Recipe, reference: str) -> Recipe:
    return recipe.model_copy(update={"distillation": recipe.distillation.model_copy(update={"teacher": reference})})


def test_an_unfinished_run_teaches_by_its_checkpoint(teacher: Run, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    shutil.copytree(teacher.path, begun)
    (begun / "metrics.json").unlink()
    (begun / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="training has not finished"):
        find_teacher(str(begun))
    assert find_teacher(str(begun / "checkpoints" / "last.ckpt")).network(TEN).width == 32


def test_a_teacher_sees_the_students_images_normalized_as_in_its_training(teacher: Run) -> None:
    metadata = input_of(teacher)
    recipe = small_recipe(*student(teacher, "kd"), "data.mean=[0.5]", "data.std=[0.125]")
    golden, _ = teacher.read_golden()
    pixels = torch.from_numpy(golden) * metadata.std[0] + metadata.mean[0]
    with torch.no_grad():
        expected = trained_model(teacher)(torch.from_numpy(golden))[:, -1]
    torch.testing.assert_close(loaded(recipe)((pixels - 0.5) / 0.125).logits, expected, atol=1e-4, rtol=1e-4)


class Killed(BaseException):
    """Simulates a power cut."""


@pytest.mark.parametrize(
    "overrides",
    [
        ("prokt",),
        pytest.param(
            ("prokt", "distillation.options.dual=true", "optimization.ema=0.9", "training.precision=bf16"),
            marks=native_bf16,
        ),
        ("rco", "distillation.options.schedule=greedy", "distillation.options.delta=1.5"),
        ("dfa", "distillation.options.search_fraction=0.5", "optimization.optimizer=adamw", "optimization.lr=0.01"),
    ],
    ids=["prokt", "prokt-dual-ema-bf16", "rco-greedy", "dfa-adamw"],
)
def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(
    teacher: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...]
) -> None:
    method, *others = overrides
    chosen = student(teacher, method, "training.keep_every=1", *others)
    whole = trained(tmp_path / "whole", *chosen)
    seed = callbacks.SeedEveryEpoch.on_train_epoch_start

    def killed(self: callbacks.SeedEveryEpoch, trainer: object, module: object) -> None:
        seed(self, trainer, module)  # type: ignore[arg-type]
        if trainer.current_epoch == 2:  # type: ignore[attr-defined]
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.SeedEveryEpoch, "on_train_epoch_start", killed)
        with pytest.raises(Killed):
            trained(tmp_path / "cut", *chosen)
    cut = trained(tmp_path / "cut", *chosen, resume=True)
    ours, theirs = weights_of(cut), weights_of(whole)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
    assert list(cut.kept_epochs()) == [1, 2, 3]
    if method == "prokt":
        learned = {name.removeprefix("method.teacher.learner.model."): value for name, value in ours.items()}
        before = read_tensors(teacher.model_path)
        assert not torch.equal(learned["heads.0.classifier.weight"], before["heads.0.classifier.weight"])


def test_a_frozen_teacher_is_in_no_file_and_no_optimizer(teacher: Run, tmp_path: Path) -> None:
    run = trained(tmp_path / "run", *student(teacher, "kd", "optimization.epochs=1"))
    assert not run.method_path.exists()
    state = torch.load(run.checkpoints_path / "last.ckpt", weights_only=True)
    assert all(name.startswith("model.") for name in state["state_dict"])
    weights = len(list(trained_model(run).parameters()))
    assert len(state["optimizer_states"][0]["state"]) == weights


def test_what_a_method_steps_itself_is_left_out_of_the_recipes_optimizer(teacher: Run) -> None:
    recipe = small_recipe(*student(teacher, "prokt"))
    model = build_model(recipe.model, recipe.exits, 1, 10)
    method = build_method(recipe.distillation, Setting(3, 10, model.pooled_widths, teacher=loaded(recipe)))
    (groups,) = [MultiExitTask(model, method, recipe.optimization, 4).configure_optimizers()["optimizer"].param_groups]
    assert [id(one) for group in groups for one in group["params"]] == [id(one) for one in model.parameters()]


def test_teachers_combine_with_self_distillation(teacher: Run, tmp_path: Path) -> None:
    methods = "distillation.methods=[mate, {prokt: {teacher_lr: 0.02}}]"
    run = trained(tmp_path / "run", methods, f"distillation.teacher={teacher.path}", FEW, "optimization.epochs=1")
    assert "loss/prokt.teacher_gap" in run.history_path.read_text().splitlines()[0]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("distillation.method=kd",), "distillation.teacher: kd needs a teacher and there is none"),
        (student("runs/none", "mate"), "distillation.teacher: mate has no use for runs/none; leave it out, or use kd"),
        (student("runs/none", "kd"), "distillation.teacher: runs/none: there is no such run folder"),
        (student("torchvision:resnet9", "kd"), "torchvision has no classifier 'resnet9'; did you mean 'resnet50'"),
        (student("torchvision:resnet18@none.pth", "kd"), "distillation.teacher: .* there is no file none.pth"),
        (student("torchvision:resnet18", "dfa"), "distillation: dfa runs its teacher block by block"),
        (student("torchvision:resnet18", "rco"), "distillation: rco follows the epochs that a teacher's run has kept"),
        (student("torchvision:resnet18", "prokt", "training.precision=fp16"), "precision: prokt steps its teacher"),
    ],
)
def test_a_teacher_that_will_not_do_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match=message):
        trained(tmp_path / "run", *overrides)
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_not_a_checkpoint_of_a_run_is_refused(teacher: Run, tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"")
    with pytest.raises(UsageError, match=r"not a checkpoint of a run.*torchvision:NAME@FILE"):
        find_teacher(str(tmp_path / "weights.pth"))
    with pytest.raises(UsageError, match=r"no such checkpoint; did you mean .*'epoch_2"):
        find_teacher(str(teacher.checkpoints_path / "epoch_3.safetensors"))


def test_a_run_of_other_images_or_classes_is_refused(teacher: Run, tmp_path: Path) -> None:
    found = RunTeacher(str(teacher.path))
    metadata = input_of(teacher)
    found.check(metadata.with_normalization([0.1], [0.9]), TEN)
    with pytest.raises(UsageError, match="images of 1 × 8 × 8, this recipe has 3 × 32 × 32"):
        found.check(RGB, TEN)
    with pytest.raises(UsageError, match="10 classes, the data has 10; the first that differ are '9' and 'nine'"):
        found.check(metadata, (*TEN[:-1], "nine"))
    with pytest.raises(UsageError, match="10 classes, the data has 9; they must be the same"):
        found.check(metadata, TEN[:-1])
    data = archive(tmp_path / "a.npz")
    recipe = (f"data={{name: arrays, options: {{path: {data}}}}}", *student(teacher, "kd")[:2])
    with pytest.raises(RecipeError, match=r"distillation\.teacher: .* was trained on images of 1 × 8 × 8"):
        trained(tmp_path / "run", *recipe)
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_network_is_refused_with_its_path(teacher: Run, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(teacher.path, copied)
    write_tensors(copied / "checkpoints" / "epoch_2.safetensors", {"weight": torch.zeros(1)})
    with pytest.raises(RunError, match=r"epoch_2\.safetensors: not weights of .*recipe\.yaml's network"):
        find_teacher(str(copied / "checkpoints" / "epoch_2.safetensors")).network(TEN)
    (copied / "checkpoints" / "last.ckpt").write_bytes(b"nothing")
    with pytest.raises(RunError, match=r"last\.ckpt: cannot be read as tensors and plain values"):
        find_teacher(str(copied / "checkpoints" / "last.ckpt")).network(TEN)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_classifier_of_torchvision_may_teach_with_weights_of_a_file(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(0)
    net = torchvision.models.shufflenet_v2_x0_5(num_classes=10).eval()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(net.state_dict(), path)
    else:
        write_tensors(path, net.state_dict())
    found = find_teacher(f"torchvision:shufflenet_v2_x0_5@{path}")
    found.check(RGB, TEN)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(found.network(TEN).eval()(images)[0], net(images))
    assert found.normalization[0] == (0.485, 0.456, 0.406)
    with pytest.raises(UsageError, match="not weights of shufflenet_v2_x0_5 for 3 classes"):
        found.network(("a", "b", "c"))
    with pytest.raises(UsageError, match="sees 3 channels, the data has 1; name a run instead"):
        found.check(InputSpec(channels=1, height=32, width=32, mean=(0.5,), std=(0.5,)), TEN)


def test_a_file_without_a_state_dict_is_refused(tmp_path: Path) -> None:
    for content, message in (({"epoch": 3}, "names with a tensor each"), ([1], "should be a mapping, not list")):
        torch.save(content, tmp_path / "weights.pth")
        with pytest.raises((UsageError, RunError), match=message):
            find_teacher(f"torchvision:resnet18@{tmp_path / 'weights.pth'}").network(TEN)


def test_pretrained_weights_fit_their_own_classes_and_size_only(monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_teacher("torchvision:resnet50")
    large = InputSpec(channels=3, height=224, width=224, mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.raises(UsageError, match=r"has 1000 classes, the data has 10; train it on this data .*@FILE"):
        found.check(large, TEN)
    with pytest.raises(UsageError, match=r"images of 224 × 224, this recipe has 3 × 32 × 32; set data.image_size"):
        found.check(RGB, TEN)
    found.check(large, tuple(map(str, range(1000))))

    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torchvision.models, "get_model", offline)
    with pytest.raises(UsageError, match=r"are unavailable \(no network\); name a file, torchvision:resnet50@FILE"):
        found.network(tuple(map(str, np.arange(1000))))


def test_a_recipe_with_a_teacher_holds_together(teacher: Run) -> None:
    for method in ("kd", "wsl", "prokt", "rco", "dfa"):
        check_recipe(small_recipe(*student(teacher, method)), "r.yaml")
    with pytest.raises(RecipeError, match="distillation: rco: route names epoch 3; the teacher's run kept 2, 4, 5"):
        check_recipe(small_recipe(*student(teacher, "rco", "distillation.options.route=[2, 3]")), "r.yaml")
