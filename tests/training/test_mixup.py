"""mixup and CutMix."""

from __future__ import annotations

import io
import math
from collections import Counter
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from any_method import LABELS, any_method, loss_of
from exit_outputs import SETTING, START, make_outputs
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from torch.nn import functional as F

from edgemate.distillation.methods.joint_ce import JointCE
from edgemate.errors import RecipeError
from edgemate.registry import METHODS
from edgemate.runs import read_tensors
from edgemate.training import train
from edgemate.training.callbacks import SeedEveryEpoch
from edgemate.training.checks import check_early, check_recipe
from edgemate.training.mixup import Mixed, Mixup, box, mixed_loss, mixup_of
from recipes import small_recipe

IMAGES = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 2, 8, 10)
NUMBERS = torch.arange(6)


@given(alpha=st.floats(0.1, 5), seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 9), batch=st.integers(0, 9))
def test_mixup_blends_whole_images_by_the_labels_weight(alpha: float, seed: int, epoch: int, batch: int) -> None:
    mixed = Mixup(alpha, None, seed)(IMAGES, NUMBERS, epoch, batch)
    assert sorted(mixed.other_labels.tolist()) == list(range(6))
    expected = mixed.weight * mixed.labels + (1 - mixed.weight) * mixed.other_labels
    torch.testing.assert_close(mixed.images, expected.view(6, 1, 1, 1).expand_as(IMAGES))


@given(alpha=st.floats(0.1, 5), seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 9), batch=st.integers(0, 9))
def test_cutmix_pastes_a_rectangle_as_large_as_the_other_labels_weight(
    alpha: float, seed: int, epoch: int, batch: int
) -> None:
    mixed = Mixup(None, alpha, seed)(IMAGES, NUMBERS, epoch, batch)
    for image, own, other in zip(mixed.images, mixed.labels, mixed.other_labels, strict=True):
        assert set(image.unique().tolist()) <= {float(own), float(other)}
        if own != other:
            assert (image == own).float().mean().item() == pytest.approx(mixed.weight)
            rows, columns = (image[0] == other).nonzero(as_tuple=True)
            if len(rows):
                area = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
                assert int(area) == len(rows), "it is a rectangle"
    assert torch.equal(IMAGES[:, 0, 0, 0], NUMBERS.float()), "the given images stay as they are"


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    weight=st.floats(0, 1),
    vertical=st.floats(0, 1, exclude_max=True),
    horizontal=st.floats(0, 1, exclude_max=True),
)
def test_the_box_is_within_the_image_and_no_larger_than_asked(
    height: int, width: int, weight: float, vertical: float, horizontal: float
) -> None:
    top, bottom, left, right = box(height, width, weight, vertical, horizontal)
    assert 0 <= top <= bottom <= height
    assert 0 <= left <= right <= width
    assert (bottom - top) * (right - left) <= (1 - weight) * height * width + 1e-9


def test_what_is_drawn_depends_on_seed_epoch_and_batch_only() -> None:
    def drawn(seed: int, epoch: int, batch: int) -> float:
        torch.manual_seed(seed + epoch)
        return Mixup(0.8, 1.0, seed)(IMAGES, NUMBERS, epoch, batch).weight

    assert drawn(1, 2, 3) == drawn(1, 2, 3)
    assert len({drawn(1, 2, 3), drawn(1, 2, 4), drawn(1, 3, 3), drawn(2, 2, 3)}) == 4


def test_with_both_each_batch_has_one_of_them() -> None:
    both = Mixup(1.0, 1.0, 0)
    kinds = Counter()
    for batch in range(200):
        images = both(IMAGES, NUMBERS, 0, batch).images
        kinds["cutmix" if (images == images.round()).all() else "mixup"] += 1
    assert 70 <= kinds["mixup"] <= 130


def test_the_loss_is_that_of_soft_labels() -> None:
    outputs, labels = make_outputs()
    mixed = Mixed(torch.zeros(len(labels), 1, 1, 1), labels, labels.flip(0), 0.3)
    soft = 0.3 * F.one_hot(labels, 4) + 0.7 * F.one_hot(labels.flip(0), 4)
    expected = -(soft.unsqueeze(1) * F.log_softmax(outputs.logits, -1)).sum(-1).mean(0).sum()
    loss = mixed_loss(JointCE(SETTING), outputs, mixed, START)
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert sum(loss.terms.values()).item() == pytest.approx(expected.item(), rel=1e-5)  # type: ignore[union-attr]
    assert torch.equal(mixed.main_labels, labels.flip(0))


@pytest.mark.parametrize("name", METHODS.names())
def test_a_method_that_says_it_keeps_no_state_may_be_called_twice(name: str, tmp_path: Path) -> None:
    model, method = any_method(name, tmp_path)
    if method.keeps_state:
        assert name in ("dfa", "last_exit", "loth", "one", "prokt", "rco", "safe_kd", "uda_kd")
        return
    assert not method.optimizers()
    model.eval()  # its batch normalization is not the method's
    first = loss_of(model, method)
    state = deepcopy(method.state_dict())
    loss_of(model, method, LABELS.flip(0))
    again = loss_of(model, method)
    assert math.isfinite(first.total.item())
    assert torch.equal(first.total, again.total)
    assert all(torch.equal(value, state[key]) for key, value in method.state_dict().items())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.cutmix=1", "training.freeze=backbone"], r"data\.cutmix: cached features replace the images"),
        (["data.mixup=1", "distillation.method=last_exit"], r"data\.mixup: mixing calls last_exit twice per batch"),
        (["data.cutmix=1", "distillation.methods=[mate, loth]"], r"data\.cutmix: mixing calls loth twice per batch"),
        (["data.repeats=5"], r"data\.repeats: a batch of 32 images .* set optimization\.batch_size to 30"),
        (["data.repeats=2", "training.freeze=backbone"], r"data\.repeats: cached features are of one augmentation"),
    ],
)
def test_what_cannot_be_mixed_or_repeated_is_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        check_early(small_recipe(*overrides), "small.yaml")
    assert len(caught.value.problems) == 1
    assert "\n" not in str(caught.value)


def test_methods_with_unlabeled_images_are_refused() -> None:
    recipe = small_recipe(
        "data.mixup=1",
        "distillation={method: uda_kd, teacher: 'torchvision:resnet18'}",
        "data.unlabeled={fraction: 0.5}",
    )
    with pytest.raises(RecipeError, match=r"data\.mixup: uda_kd learns from images without labels too"):
        check_early(recipe, "small.yaml")


def test_a_method_with_an_optimizer_of_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JointCE, "optimizers", lambda self: [torch.optim.SGD([torch.zeros(1)], lr=1)])
    with pytest.raises(RecipeError, match=r"data: mixup calls the method twice per batch, and it steps an opt"):
        check_recipe(small_recipe("data.mixup=1", "distillation.method=joint_ce"), "small.yaml")


def test_off_by_default() -> None:
    assert mixup_of(small_recipe().data, 0, JointCE(SETTING)) is None


def test_a_killed_training_resumes_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small_recipe(
        "data.mixup=0.4",
        "data.cutmix=1",
        "data.sampling=balanced",
        "data.repeats=2",
        "data.train_limit=160",
        f"optimization.class_weights={[1 + i / 10 for i in range(10)]}",
        "optimization.epochs=2",
    )
    console = Console(file=io.StringIO(), width=300)
    whole = train(recipe, tmp_path / "whole", console=console)
    assert "against the label that weighs more" in console.file.getvalue()  # type: ignore[attr-defined]
    seed = SeedEveryEpoch.on_train_epoch_start

    def kill(self: SeedEveryEpoch, trainer: object, module: object) -> None:
        seed(self, trainer, module)  # type: ignore[arg-type]
        if trainer.current_epoch == 1:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SeedEveryEpoch, "on_train_epoch_start", kill)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "killed", console=console)
    resumed = train(recipe, tmp_path / "killed", resume=True, console=console)
    theirs = read_tensors(whole.model_path)
    for name, value in read_tensors(resumed.model_path).items():
        assert torch.equal(value, theirs[name]), name


def test_images_on_the_device_are_mixed_as_those_of_a_loader(tmp_path: Path) -> None:
    overrides = ("data.mixup=0.2", "data.cutmix=1", "optimization.epochs=1")
    console = Console(file=io.StringIO())
    recipes = {cache: small_recipe(*overrides, f"data.cache={cache}") for cache in ("none", "device")}
    runs = [train(recipe, tmp_path / cache, console=console) for cache, recipe in recipes.items()]
    loader, there = (read_tensors(run.model_path) for run in runs)
    assert all(torch.equal(value, loader[name]) for name, value in there.items())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.mixup=1", "data: mixup calls the method twice per batch, which with these options counts as two steps"),
        ("optimization.accumulate=2", "optimization.accumulate: it calls mate several times per step"),
    ],
)
def test_options_that_make_a_method_keep_state_are_refused_where_it_is_called_twice(
    override: str, message: str
) -> None:
    check_recipe(small_recipe(override, "distillation.method=mate"), "small.yaml")
    with pytest.raises(RecipeError, match=message):
        check_recipe(small_recipe(override, "distillation={method: mate, options: {growth: 1.05}}"), "small.yaml")
