"""Training with `training.freeze: backbone`: what stays as it is, and what cached features leave the same."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from edgemate.config import Exits, Model, Recipe, Training
from edgemate.config.schema import Augmentation
from edgemate.data import PreparedData
from edgemate.errors import RecipeError, TrainingError
from edgemate.models import Features, MultiExitModel, build_model
from edgemate.runs import Run, read_tensors
from edgemate.training import caching, feature_cache, trainer
from edgemate.training import train as train_run
from edgemate.training.cache_key import fingerprint, own_code
from edgemate.training.cached_loaders import CachedTrainLoader
from edgemate.training.callbacks import SeedEveryEpoch
from edgemate.training.freezing import freeze
from recipes import small_recipe

FROZEN = ("training.freeze=backbone", "data.train_limit=128", "optimization.lr=0.05")


class Killed(BaseException):
    """Simulates a power cut."""


def train(path: Path, *overrides: str, **options: bool) -> Run:
    return train_run(small_recipe(*FROZEN, *overrides), path, console=Console(file=io.StringIO(), width=400), **options)


def untouched() -> MultiExitModel:
    """The network as training begins with it."""
    recipe = small_recipe(*FROZEN)
    torch.manual_seed(recipe.training.seed)
    return build_model(recipe.model, recipe.exits, 1, 10)


def history(run: Run) -> list[dict[str, str]]:
    return list(csv.DictReader(run.history_path.read_text().splitlines()))


@pytest.fixture
def own_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last head of every network that is built is the network's own, with its own weights."""

    def build(*given: object) -> MultiExitModel:
        model = build_model(*given)  # type: ignore[arg-type]
        model.heads[-1].pretrained = True
        return model

    monkeypatch.setattr(trainer, "build_model", build)


@pytest.mark.parametrize("views", [0, 2])
@pytest.mark.parametrize("ema", ["null", "0.9"])
def test_the_backbone_stays_bit_for_bit_and_the_heads_train(tmp_path: Path, views: int, ema: str) -> None:
    run = train(tmp_path / "run", f"training.cache_augmentations={views}", f"optimization.ema={ema}")
    before, after = untouched().state_dict(), read_tensors(run.model_path)
    stages = {name for name in before if name.startswith("stages.")}
    assert stages
    for name in stages:
        assert torch.equal(before[name], after[name]), name
    for k in range(3):
        weight = f"heads.{k}.classifier.weight"
        assert not torch.equal(before[weight], after[weight])
    losses = [sum(float(row[name]) for name in row if name.startswith("loss/")) for row in history(run)]
    assert losses[-1] < losses[0]


@pytest.mark.usefixtures("own_classifier")
@pytest.mark.parametrize("views", [0, 1])
def test_the_last_exit_keeps_the_logits_of_the_networks_own_classifier_bit_for_bit(tmp_path: Path, views: int) -> None:
    run = train(tmp_path / "run", f"training.cache_augmentations={views}", "optimization.ema=0.9")
    model = untouched().eval()
    trained = untouched().eval()
    trained.load_state_dict(read_tensors(run.model_path))
    images = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, theirs = trained(images), model(images)
    assert torch.equal(ours[:, -1], theirs[:, -1])
    assert not torch.equal(ours[:, 0], theirs[:, 0])


def test_whatever_train_is_called_a_frozen_backbone_stays_in_evaluation_mode() -> None:
    model = untouched()
    model.heads[-1].pretrained = True
    model.freeze_backbone()
    model.train()
    assert not any(module.training for module in model.stages.modules())
    assert not any(module.training for module in model.heads[-1].modules())
    assert all(module.training for module in model.heads[0].modules())
    assert not any(one.requires_grad for one in (*model.stages.parameters(), *model.heads[-1].parameters()))
    before = {name: tensor.clone() for name, tensor in model.stages.state_dict().items()}
    model.outputs(torch.randn(4, 1, 8, 8))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.stages.state_dict().items())


def test_as_many_views_as_epochs_train_as_the_uncached_run_does_up_to_float16(tmp_path: Path) -> None:
    # 129 images leave a last batch of one, which an epoch drops; another epoch needs that image's features.
    overrides = ("data.train_limit=129", "exits.options.dropout=0")
    uncached = train(tmp_path / "uncached", *overrides, "training.cache_augmentations=0")
    cached = train(tmp_path / "cached", *overrides, "training.cache_augmentations=3")
    repeated = train(tmp_path / "repeated", *overrides, "training.cache_augmentations=1")
    theirs = read_tensors(uncached.model_path)

    def distance(run: Run) -> float:
        ours = read_tensors(run.model_path)
        return max(float((ours[name].float() - theirs[name].float()).abs().max()) for name in theirs)

    assert distance(cached) < distance(repeated) / 4, "there epochs 2 and 3 saw the augmentation of epoch 1"


def test_a_view_has_the_features_of_an_image_that_its_own_epoch_leaves_out(tmp_path: Path) -> None:
    recipe = small_recipe(*FROZEN, "data.train_limit=129", "training.cache_augmentations=1")
    assert 129 % recipe.optimization.batch_size == 1
    _, _, cached = computed(recipe, tmp_path)
    for epoch in range(4):
        cached.sampler.set_epoch(epoch)
        for at_cuts, _ in cached:
            for features in at_cuts:
                assert features.flatten(1).any(1).all(), "the features of an image are all 0"


def test_a_cached_view_holds_the_features_of_that_epochs_augmented_images(tmp_path: Path) -> None:
    recipe = small_recipe(*FROZEN, "training.cache_augmentations=2")
    data, model, cached = computed(recipe, tmp_path)
    images = data.train_loader()
    for epoch in (0, 1, 2):
        cached.sampler.set_epoch(epoch)
        images.sampler.set_epoch(epoch % 2)  # type: ignore[attr-defined]
        if epoch == 2:
            continue  # view 0 again, in the order of epoch 2
        for (at_cuts, labels), (pixels, expected) in zip(cached, images, strict=True):
            assert torch.equal(labels, expected)
            with torch.no_grad():
                for ours, theirs in zip(at_cuts, model.features_at_cuts(pixels), strict=True):
                    assert ours.dtype == torch.float16
                    torch.testing.assert_close(ours.float(), theirs, rtol=1e-3, atol=1e-3)
    first, third = [cached_labels(cached, epoch) for epoch in (0, 2)]
    assert not torch.equal(first, third)
    assert torch.equal(first.sort().values, third.sort().values)


def computed(recipe: Recipe, folder: Path) -> tuple[PreparedData, MultiExitModel, CachedTrainLoader]:
    """The data, a frozen network, and the loader of its features, which are computed."""
    data = trainer.prepare_data(recipe)
    model = untouched()
    model.freeze_backbone()
    made = caching.Caching(recipe, data, model, folder)
    made.compute(torch.device("cpu"), False, trainer.SILENT)
    return data, model, made.loaders()[0]


def cached_labels(loader: object, epoch: int) -> torch.Tensor:
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    return torch.cat([labels for _, labels in loader])  # type: ignore[attr-defined]


@pytest.mark.parametrize("kept", [False, True], ids=["in the run", "in a folder of its own"])
def test_a_killed_training_resumes_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    def folder(name: str) -> tuple[str, ...]:
        return (f"training.cache_dir={tmp_path / name}",) if kept else ()

    overrides = ("training.cache_augmentations=2", "optimization.ema=0.9")
    whole = train(tmp_path / "whole", *overrides, *folder("cache_1"))
    seed = SeedEveryEpoch.on_train_epoch_start

    def die(self: SeedEveryEpoch, trainer: object, module: object) -> None:
        seed(self, trainer, module)  # type: ignore[arg-type]
        if trainer.current_epoch == 2:  # type: ignore[attr-defined]
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(SeedEveryEpoch, "on_train_epoch_start", die)
        with pytest.raises(Killed):
            train(tmp_path / "cut", *overrides, *folder("cache_2"))
    cut = train(tmp_path / "cut", *overrides, *folder("cache_2"), resume=True)
    theirs = read_tensors(whole.model_path)
    for name, value in read_tensors(cut.model_path).items():
        assert torch.equal(value, theirs[name]), name
    assert cut.read_metrics()["feature_cache"]["reused"]
    assert (tmp_path / "cache_2").exists() == kept
    assert not (cut.path / "cache").exists()


def test_caching_that_was_interrupted_resumes_with_the_part_that_is_not_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ("training.cache_augmentations=2", f"training.cache_dir={tmp_path / 'cache'}")
    computed: list[str] = []
    create = feature_cache.FeatureCache.create

    def counting(self: feature_cache.FeatureCache, part: str, images: int) -> list[feature_cache.Array]:
        computed.append(part)
        return create(self, part, images)

    monkeypatch.setattr(feature_cache.FeatureCache, "create", counting)
    store, calls = caching._store, 0

    def die(*given: object) -> None:
        nonlocal calls
        calls += 1
        if computed[-1] == "view_1" and calls > 30:
            raise Killed
        store(*given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(caching, "_store", die)
        with pytest.raises(Killed):
            train(tmp_path / "run", *overrides)
    assert computed == ["calibration", "view_0", "view_1"]
    computed.clear()
    run = train(tmp_path / "run", *overrides, resume=True)
    evaluated = ["calibration", "test"]  # exactly, after the training
    assert computed == ["view_1", *evaluated]
    again = train(tmp_path / "again", *overrides)
    assert computed == ["view_1", *evaluated], "the second training finds all parts"
    theirs = read_tensors(again.model_path)
    assert all(torch.equal(value, theirs[name]) for name, value in read_tensors(run.model_path).items())


def test_the_calibration_accuracy_of_an_epoch_is_that_of_the_whole_network(tmp_path: Path) -> None:
    run = train(tmp_path / "run", "optimization.ema=0.5")
    measured = run.read_metrics()["accuracy"]["calibration"]
    for k, accuracy in enumerate(measured["exits"], 1):
        cached = float(history(run)[-1][f"calibration/exit{k}"])
        assert cached == pytest.approx(accuracy, abs=1.5 / measured["images"]), "float16 may turn one image"


def test_runs_that_share_a_cache_evaluate_to_the_logits_of_the_whole_network_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = train(tmp_path / "alone")
    shared = f"training.cache_dir={tmp_path / 'cache'}"
    first = train(tmp_path / "first", shared)
    asked = []
    whole = MultiExitModel.features_at_cuts
    monkeypatch.setattr(MultiExitModel, "features_at_cuts", lambda self, x: (asked.append(len(x)), whole(self, x))[1])
    second = train(tmp_path / "second", shared)
    assert max(asked, default=0) <= 1  # one image, for the shapes
    monkeypatch.undo()
    other, other_alone = (
        train(tmp_path / f"other{n}", "training.seed=1", *rest) for n, rest in enumerate([[shared], []])
    )
    for split in ("calibration", "test"):
        expected = alone.read_logits(split)  # type: ignore[arg-type]
        for run in (first, second):
            for ours, theirs in zip(run.read_logits(split), expected, strict=True):  # type: ignore[arg-type]
                assert np.array_equal(ours, theirs)
        ours, theirs = (run.read_logits(split)[0] for run in (other, other_alone))  # type: ignore[arg-type]
        assert np.array_equal(ours, theirs), "another backbone has other features"


def test_a_longer_run_computes_the_further_views_alone(tmp_path: Path) -> None:
    overrides = ("training.cache_augmentations=3", f"training.cache_dir={tmp_path / 'cache'}")
    train(tmp_path / "run", *overrides, "optimization.epochs=2")
    (folder,) = (path for path in (tmp_path / "cache").iterdir() if "evaluation" not in path.name)
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*.npy")}
    assert {path.name.split("_exit")[0] for path in times} == {"calibration", "view_0", "view_1"}
    run = train(tmp_path / "run", *overrides, "optimization.epochs=4", resume=True)
    assert run.read_metrics()["feature_cache"]["views"] == 3
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert len(list(folder.glob("view_2_*.npy"))) == 3


@pytest.mark.parametrize(
    "change",
    [
        "training.seed=1",  # of the augmentation, and of the random weights
        "optimization.batch_size=16",
        "data.calibration_fraction=0.2",
        "data.train_limit=127",
        "data.augmentation=[]",
        "model.options.width=8",
        "exits.at=[stage2, stage3]",
    ],
)
def test_what_features_depend_on_changes_the_key(change: str, tmp_path: Path) -> None:
    assert key_of() != key_of(change)
    assert key_of() == key_of("training.cache_augmentations=3", "data.test_limit=5", "optimization.lr=0.3")


def key_of(*overrides: str) -> str:
    recipe = small_recipe(*FROZEN, *overrides)
    torch.manual_seed(recipe.training.seed)
    model = build_model(recipe.model, recipe.exits, 1, 10)
    return caching.cache_key(recipe, trainer.prepare_data(recipe), model)


def test_other_weights_of_the_backbone_change_the_key_and_other_heads_do_not() -> None:
    recipe = small_recipe(*FROZEN)
    data = trainer.prepare_data(recipe)
    model = untouched()
    key = caching.cache_key(recipe, data, model)
    with torch.no_grad():
        next(model.heads.parameters()).add_(1)
    assert caching.cache_key(recipe, data, model) == key
    with torch.no_grad():
        next(model.stages.parameters()).view(-1)[0] += 1e-6
    assert caching.cache_key(recipe, data, model) != key


@pytest.mark.parametrize("part", ["own_part.py", "own_part/__init__.py", "own_part/inner.py"])
def test_other_code_of_a_part_of_the_users_own_changes_the_key(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / part
    file.parent.mkdir(exist_ok=True)
    (file.parent / "__init__.py").touch()
    file.write_text("def aug(spec): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    augmentation = [Augmentation.model_validate({"name": "own_part:aug"})]
    recipe = small_recipe(*FROZEN)
    own = recipe.model_copy(update={"data": recipe.data.model_copy(update={"augmentation": augmentation})})
    assert own_code(recipe) == {}
    before = own_code(own)
    assert before == own_code(own) != {}
    file.write_text("def aug(spec): return None\n")
    assert own_code(own) != before


def test_pixels_that_only_a_class_of_the_users_own_can_give_are_in_the_fingerprint() -> None:
    class Own:
        array = None
        labels = np.zeros(2, np.int64)

        def __init__(self, gray: int) -> None:
            self.gray = gray

        def __len__(self) -> int:
            return 2

        def image(self, index: int) -> Image.Image:
            return Image.new("L", (2, 2), self.gray)

    assert fingerprint(Own(0)) == fingerprint(Own(0)) != fingerprint(Own(200))


def test_features_beyond_float16_are_stored_as_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*given: object) -> MultiExitModel:
        model = build_model(*given)  # type: ignore[arg-type]
        with torch.no_grad():  # the last normalization of stage 2 scales far up
            norm = [module for module in model.stages[1].modules() if isinstance(module, torch.nn.BatchNorm2d)][-1]
            norm.weight.fill_(1e6)
        return model

    monkeypatch.setattr(trainer, "build_model", build)
    cache = tmp_path / "cache"
    run = train(tmp_path / "run", f"training.cache_dir={cache}", "optimization.lr=1e-9", "optimization.epochs=1")
    assert run.read_metrics()["feature_cache"]["dtypes"][1] == "float32"
    (folder,) = (path for path in cache.iterdir() if "evaluation" not in path.name)
    stored = np.load(folder / "view_0_exit2.npy")
    assert stored.dtype == np.float32
    assert np.isfinite(stored).all()
    assert stored.max() > np.finfo(np.float16).max


def test_a_disk_without_space_is_one_line_that_names_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = feature_cache.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(feature_cache.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(TrainingError) as caught:
        train(tmp_path / "run", f"training.cache_dir={tmp_path / 'cache'}")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "cache") in str(caught.value)
    assert "training.cache_dir" in str(caught.value)


class ReadsTwo(torch.nn.Module):
    """A head that reads another tensor too."""

    def __init__(self, head: torch.nn.Module) -> None:
        super().__init__()
        self.head, self.width = head, head.width

    def forward(self, features: Features) -> tuple[torch.Tensor, torch.Tensor]:
        return self.head({"features": features["features"] + features["coarse"]})


class GivesTwo(torch.nn.Module):
    """A stage that passes on another tensor too."""

    def __init__(self, stage: torch.nn.Module) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, features: Features) -> Features:
        passed = self.stage(features)
        return {**passed, "coarse": passed["features"]}


def test_a_head_that_reads_more_than_is_cached_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*given: object) -> MultiExitModel:
        model = build_model(*given)  # type: ignore[arg-type]
        model.stages[-1], model.heads[-1] = GivesTwo(model.stages[-1]), ReadsTwo(model.heads[-1])
        return model

    monkeypatch.setattr(trainer, "build_model", build)
    with pytest.raises(TrainingError, match="cache_augmentations: a head reads 'coarse' beside"):
        train(tmp_path / "run")


def test_the_header_says_what_is_frozen_and_how_large_the_cache_is(tmp_path: Path) -> None:
    screen = io.StringIO()
    recipe = small_recipe(*FROZEN, f"training.cache_dir={tmp_path / 'cache'}", "optimization.epochs=1")
    run = train_run(recipe, tmp_path / "run", console=Console(file=screen, width=400))
    lines = dict(line.split("  ", 1) for line in screen.getvalue().splitlines() if "  " in line)
    assert lines["frozen"].strip().startswith("backbone; ")
    found = [path for path in (tmp_path / "cache").rglob("*.npy") if not path.parent.name.startswith("evaluation-")]
    stored = sum(path.stat().st_size for path in found)
    cached = run.read_metrics()["feature_cache"]
    assert cached["bytes"] == pytest.approx(stored, abs=6 * 256), "six files, each with a header"
    assert f"{cached['bytes'] / 1e6:.3g} MB in {tmp_path / 'cache'}" in lines["features"]
    exact = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.npy")) - stored
    assert ", computed first; " in lines["features"]
    more = float(lines["features"].partition("; ")[2].split()[0])
    assert more * 1e6 == pytest.approx(exact, rel=0.01)
    assert cached["seconds"] > 0
    assert not cached["reused"]


def test_a_damaged_manifest_or_array_is_computed_again(tmp_path: Path) -> None:
    overrides = (f"training.cache_dir={tmp_path / 'cache'}", "optimization.epochs=1")
    begun = train(tmp_path / "first", *overrides)
    first = read_tensors(begun.model_path)
    exact, folder = sorted((tmp_path / "cache").iterdir(), key=lambda path: "evaluation" not in path.name)
    (folder / "view_0_exit1.npy").write_bytes(b"not an array")
    (exact / "test_exit1.npy").write_bytes(b"not an array")
    second = train(tmp_path / "second", *overrides)
    assert np.array_equal(second.read_logits("test")[0], begun.read_logits("test")[0])
    assert not second.read_metrics()["feature_cache"]["reused"]
    manifest = folder / "cache.json"
    manifest.write_text(json.dumps({"shapes": 3}))
    third = train(tmp_path / "third", *overrides)
    for run in (second, third):
        assert all(torch.equal(value, first[name]) for name, value in read_tensors(run.model_path).items())


@pytest.mark.usefixtures("own_classifier")
def test_a_network_whose_only_exit_is_its_own_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no exit is left to train.*add earlier exits in exits\.at"):
        train(tmp_path / "run", "exits.at=[stage3]", "distillation.method=joint_ce")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.compile=true", "training.compile: with cached features no backbone runs"),
        ("data.cache=device", "data.cache: cached features replace the images"),
        ("training.cache_dir=/proc/cache", "training.cache_dir: /proc/cache cannot be written to: "),
        ("optimization.backbone_lr_scale=0.1", "optimization.backbone_lr_scale: training.freeze=backbone leaves"),
        ("optimization.layer_decay=0.5", "optimization.layer_decay: training.freeze=backbone leaves"),
    ],
)
def test_settings_that_a_frozen_backbone_excludes_are_refused(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        train(tmp_path / "run", override)
    assert not (tmp_path / "run").exists()


def test_without_a_cache_the_images_may_be_on_the_device(tmp_path: Path) -> None:
    overrides = ("training.cache_augmentations=0", "optimization.epochs=1", "data.augmentation=[]")
    plain = read_tensors(train(tmp_path / "plain", *overrides).model_path)
    there = read_tensors(train(tmp_path / "there", *overrides, "data.cache=device").model_path)
    assert all(torch.equal(value, plain[name]) for name, value in there.items())


def test_frozen_statistics_stay_bit_for_bit_and_the_rest_trains(tmp_path: Path) -> None:
    start = train(tmp_path / "start", "training.freeze=none")
    kept = train(tmp_path / "kept", "training.freeze=statistics", f"model.weights=run:{start.path}")
    before, after = read_tensors(start.model_path), read_tensors(kept.model_path)
    fixed = {name for name in before if name.startswith("stages.") and "running_" in name}
    assert fixed
    assert all(torch.equal(before[name], after[name]) for name in fixed)
    trained = {name for name in before if name.startswith("stages.") and name.endswith("weight")}
    assert all(not torch.equal(before[name], after[name]) for name in trained)
    assert all(not torch.equal(before[name], after[name]) for name in before if name.startswith("heads."))


def test_frozen_statistics_need_some(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"training\.freeze: statistics keeps those of model\.weights"):
        train(tmp_path / "run", "training.freeze=statistics")
    without = build_model(Model(backbone="timm/convnext_atto"), Exits(count=2), 3, 5, (32, 32))
    with pytest.raises(TrainingError, match=r"training\.freeze=statistics: this backbone has no batch normalization"):
        freeze(without, Training(freeze="statistics"))


@pytest.mark.parametrize("ema", ["null", "0.9"])
def test_what_comes_before_a_cut_stays_bit_for_bit_and_the_rest_trains(tmp_path: Path, ema: str) -> None:
    run = train(tmp_path / "run", "training.freeze=none", "training.freeze_until=stage1", f"optimization.ema={ema}")
    before, after = untouched().state_dict(), read_tensors(run.model_path)
    kept = {name for name in before if name.startswith("stages.0.")}
    assert all(torch.equal(before[name], after[name]) for name in kept)
    changed = {name for name in before if name.endswith("weight") and name not in kept}
    assert all(not torch.equal(before[name], after[name]) for name in changed)


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        ("stage7", r"training\.freeze_until: unknown cut point 'stage7'; .*stage"),
        ("stage3", r"training\.freeze_until: the network ends at stage3; .*freeze to backbone"),
    ],
)
def test_a_cut_that_cannot_be_frozen_is_one_line(tmp_path: Path, cut: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        train(tmp_path / "run", "training.freeze=none", f"training.freeze_until={cut}")


def test_a_frozen_backbone_has_nothing_before_a_cut_to_freeze(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"training\.freeze_until: training\.freeze=backbone leaves nothing"):
        train(tmp_path / "run", "training.freeze_until=stage1")
