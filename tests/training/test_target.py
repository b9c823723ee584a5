import io
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from edgemate.config import Recipe
from edgemate.core.scoring import exit_accuracy
from edgemate.errors import RecipeError
from edgemate.runs import Run, read_tensors
from edgemate.training import callbacks, check_recipe, train
from recipes import small_recipe

INVERTED = ("data.unlabeled.corruptions=[invert]", "optimization.epochs=2", "distillation.method=joint_ce")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(
        small_recipe(*INVERTED), tmp_path_factory.mktemp("runs") / "shifted", console=Console(file=io.StringIO())
    )


def test_the_targets_test_split_is_judged_beside_the_sources(run: Run) -> None:
    target, source = run.read_logits("target_test"), run.read_logits("test")
    assert target.labels.tolist() == source.labels.tolist()
    assert (target.logits != source.logits).any()
    accuracy = run.read_metrics()["accuracy"]
    assert accuracy["target_test"]["exits"] == exit_accuracy(target.logits, target.labels).tolist()
    assert accuracy["target_test"]["images"] == 449


def test_images_of_both_domains_are_counted(run: Run) -> None:
    images = run.read_metadata().images
    assert (images["train"], images["unlabeled"], images["target_test"]) == (512, 606, 449)


def test_a_method_that_knows_no_target_learns_from_the_source_alone(run: Run, tmp_path: Path) -> None:
    # Other unlabeled images change nothing.
    recipe = small_recipe(*INVERTED, "data.unlabeled.limit=7", "data.unlabeled.corruptions=[gaussian_noise]")
    other = train(recipe, tmp_path / "other", console=Console(file=io.StringIO()))
    assert (other.read_logits("test").logits == run.read_logits("test").logits).all()
    assert other.read_metadata().images["unlabeled"] == 7


def adapting(teacher: Run, *overrides: str) -> Recipe:
    """A recipe for `uda_kd` under that teacher."""
    named = ("distillation.method=uda_kd", f"distillation.teacher={teacher.path}")
    return small_recipe(*INVERTED, *named, *overrides)


def test_adapting_trains_the_teacher_beside_the_exits(run: Run, tmp_path: Path) -> None:
    adapted = train(adapting(run), tmp_path / "adapted", console=Console(file=io.StringIO()))
    own = read_tensors(adapted.method_path)
    before = read_tensors(run.model_path)
    assert not torch.equal(
        own["teacher.learner.model.stages.0.blocks.0.module.0.0.weight"], before["stages.0.blocks.0.module.0.0.weight"]
    )
    # Its batch normalization has seen the target: twice per batch, once for its own step.
    assert own["teacher.learner.model.stages.0.blocks.0.module.0.1.num_batches_tracked"] == 2 * 2 * 16 + 2 * 16
    assert (read_tensors(run.model_path)["heads.2.classifier.weight"] == before["heads.2.classifier.weight"]).all()
    for column in ("loss/adversarial", "loss/teacher_target", "method/teacher_labels"):
        assert column in adapted.history_path.read_text().splitlines()[0]


def test_an_adaptation_cut_off_ends_with_the_weights_of_a_whole_one(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = adapting(run, "data.unlabeled.corruptions=[gaussian_noise]", "data.unlabeled.per_batch=9")
    whole = train(recipe, tmp_path / "whole", console=Console(file=io.StringIO()))

    class Killed(BaseException):
        pass

    def kill(callback: object, trainer: object, module: object) -> None:
        if trainer.current_epoch == 1:  # type: ignore[attr-defined]
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Record, "on_train_epoch_start", kill)
        with pytest.raises(Killed):
            train(recipe, tmp_path / "cut", console=Console(file=io.StringIO()))
    torch.rand(3)  # whatever was drawn in between must not matter
    cut = train(recipe, tmp_path / "cut", resume=True, console=Console(file=io.StringIO()))
    for ours, theirs in ((cut.model_path, whole.model_path), (cut.method_path, whole.method_path)):
        one, other = read_tensors(ours), read_tensors(theirs)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.unlabeled=null"], "uda_kd adapts to a second domain; name it under data.unlabeled"),
        (["distillation.teacher=null"], "distillation.teacher: uda_kd needs a teacher and there is none"),
    ],
)
def test_what_an_adaptation_lacks_is_reported_before_any_work(run: Run, overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        check_recipe(adapting(run, *overrides), "small.yaml")
    assert message in str(caught.value)


@pytest.mark.slow
def test_adapting_helps_on_the_target(tmp_path: Path) -> None:
    shift = (
        "data.unlabeled.corruptions=[{contrast: {factor: 0.5}}, {gaussian_noise: {sigma: 0.2}}]",
        "data.train_limit=null",
        "model.options.width=8",
        "optimization.schedule=one_cycle",
    )
    console = Console(file=io.StringIO())
    alone = ("distillation.method=joint_ce", "optimization.epochs=12")
    source_only = train(small_recipe(*shift, *alone), tmp_path / "source", console=console)
    adapted = train(adapting(source_only, *shift, "optimization.epochs=20"), tmp_path / "adapted", console=console)
    before, after = (found.read_metrics()["accuracy"] for found in (source_only, adapted))
    assert np.mean(after["target_test"]["exits"]) > np.mean(before["target_test"]["exits"]) + 0.1
    assert np.mean(after["test"]["exits"]) > np.mean(before["test"]["exits"]) - 0.1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["data.unlabeled.corruptions=[inverted]"],
            "data.unlabeled.corruptions.0.name: unknown corruption 'inverted'",
        ),
        (
            ["data.unlabeled.corruptions=[{gaussian_blur: {sigma: 0}}]"],
            "data.unlabeled.corruptions.0.options.sigma: should be greater than 0",
        ),
        (["data.unlabeled.name=digit"], "data.unlabeled.name: unknown dataset 'digit'"),
        (["data.unlabeled.name=arrays"], "data.unlabeled.options.path: missing"),
        (["data.unlabeled.name=cifar10", "data.unlabeled.fraction=0.3"], "unlabeled.fraction splits one dataset"),
        (
            ["data.unlabeled={name: digits, options: {channels: 3}, fraction: 0.3}"],
            "unlabeled.fraction splits one dataset, but unlabeled.options are others",
        ),
        (["data.unlabeled.options={path: x}"], "options need a dataset: set name"),
        (["data.unlabeled.fractoin=0.3"], "data.unlabeled.fractoin: unknown key; did you mean 'fraction'"),
    ],
)
def test_mistakes_are_named_before_any_data_is_read(overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        small_recipe(*overrides)
    assert message in str(caught.value)
