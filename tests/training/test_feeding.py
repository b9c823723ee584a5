"""Where a training keeps its images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toy_data import write_folders

from edgemate.config import Recipe
from edgemate.data.held import HeldImages
from edgemate.distillation.building import build_method, setting_of
from edgemate.distillation.method import Method
from edgemate.models import build_model
from edgemate.runs import read_tensors
from edgemate.training import feeding
from edgemate.training.feeding import choose_place, make_feed
from edgemate.training.trainer import prepare_data, train
from recipes import small_recipe

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
FILES = ("data.name=image_folder", "data.image_size=8", "data.calibration_fraction=0.25")


def recipe_for(folder: Path, *overrides: str) -> Recipe:
    return small_recipe(*FILES, f"data.options.path={folder}", *overrides)


def method_of(recipe: Recipe) -> Method:
    data = prepare_data(recipe)
    spec = data.spec
    model = build_model(recipe.model, recipe.exits, spec.channels, len(data.classes), (spec.height, spec.width))
    return build_method(recipe.distillation, setting_of(recipe, model, len(data.classes), None, None))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folders(tmp_path / "images", per_class=12)


def placed(recipe: Recipe, device: torch.device = CPU) -> tuple[str, str]:
    return choose_place(recipe.data.cache, recipe.optimization.epochs, prepare_data(recipe), method_of(recipe), device)


def test_files_are_kept_in_memory_where_that_pays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert placed(recipe_for(folder))[0] == "ram"
    assert placed(recipe_for(folder, "optimization.epochs=1", "optimization.schedule=constant"))[0] == "none"
    for free, expected in ((None, "none"), (10_000, "none"), (10**9, "ram")):
        monkeypatch.setattr(feeding, "free_memory", lambda free=free: free)
        assert placed(recipe_for(folder))[0] == expected
    assert placed(recipe_for(folder, "data.cache=none"))[0] == "none"
    monkeypatch.setattr(feeding, "free_memory", lambda: None)
    assert placed(recipe_for(folder, "data.cache=ram"))[0] == "ram"


def test_on_a_gpu_images_are_kept_there_if_they_and_their_augmentation_can_be(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "free_bytes", lambda device: 10**9)
    crop = "data.augmentation=[{random_crop: {padding: 1}}, horizontal_flip, rand_augment]"
    whole = recipe_for(folder, "data.resize=stretch", crop)
    assert placed(whole, GPU)[0] == "device"
    assert placed(recipe_for(folder, "data.augmentation=[random_resized_crop]"), GPU)[0] == "ram"
    assert placed(recipe_for(folder, crop), GPU)[0] == "ram"  # random_crop takes images that are not yet cropped
    monkeypatch.setattr(feeding, "free_bytes", lambda device: 1000)
    assert placed(whole, GPU)[0] == "ram"


def test_a_feed_holds_the_images_of_both_splits(folder: Path) -> None:
    recipe = recipe_for(folder)
    data = prepare_data(recipe)
    method = method_of(recipe)
    feed = make_feed(data, method, CPU, choose_place("ram", 2, data, method, CPU))
    assert (feed.place.name, feed.place.note.split(",")[0]) == ("ram", "in memory")
    held = feed.train.dataset._images  # type: ignore[union-attr]
    assert isinstance(held, HeldImages)
    assert len(held.pixels) == len(data.splits.train) + len(data.splits.calibration)
    for path in data.source.train.paths:  # type: ignore[attr-defined]
        path.unlink()
    assert sum(len(labels) for _, labels in feed.train) == len(data.splits.train)
    assert sum(len(labels) for _, labels in feed.calibration) == len(data.splits.calibration)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_weights_are_the_same_wherever_the_images_are_kept(folder: Path, tmp_path: Path, workers: int) -> None:
    trained = []
    for cache in ("none", "ram", "device"):
        recipe = recipe_for(
            folder,
            f"data.cache={cache}",
            "data.resize=stretch",
            "data.augmentation=[{random_crop: {padding: 1}}, rand_augment]",
            f"training.workers={workers if cache != 'device' else 0}",
        )
        trained.append(read_tensors(train(recipe, tmp_path / cache).model_path))
    assert all(torch.equal(tensor, other[name]) for other in trained[1:] for name, tensor in trained[0].items())


def test_the_old_setting_is_understood() -> None:
    assert small_recipe("training.data_on_device=true").data.cache == "device"
    assert small_recipe("training.data_on_device=false").data.cache == "auto"
