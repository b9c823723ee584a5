import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from processors import native_bf16
from rich.console import Console
from told import Told
from toy_data import write_folders

from edgemate.cli.figures import engineering
from edgemate.core.class_report import ClassReport
from edgemate.core.class_tables import confusion_csv, per_class_csv
from edgemate.core.scoring import exit_accuracy, top_k_accuracy
from edgemate.errors import DataError, RecipeError, RunError, TrainingError
from edgemate.evaluation import trained_model
from edgemate.models import count_costs
from edgemate.runs import Run, read_tensors
from edgemate.training import callbacks, optimizers, train
from edgemate.training.task import MultiExitTask
from recipes import small_recipe


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def weights_of(run: Run) -> dict[str, torch.Tensor]:
    own = (
        {f"method.{name}": value for name, value in read_tensors(run.method_path).items()}
        if run.method_path.exists()
        else {}
    )
    return read_tensors(run.model_path) | own


def assert_same_weights(one: Run, other: Run) -> None:
    ours, theirs = weights_of(one), weights_of(other)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def history(run: Run) -> list[dict[str, str]]:
    return list(csv.DictReader(run.history_path.read_text().splitlines()))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(small_recipe(), tmp_path_factory.mktemp("runs") / "small", console=quiet())


def test_a_run_holds_everything_that_comes_after_needs(run: Run) -> None:
    assert run.finished
    assert run.read_recipe() == small_recipe()
    metadata = run.read_metadata()
    assert metadata.cuts == ("stage1", "stage2", "stage3")
    assert metadata.classes == tuple("0123456789")
    assert metadata.input["channels"] == 1
    assert metadata.images["train"] == 512
    assert list((run.path / "tensorboard").glob("events*"))
    golden = run.read_golden()
    assert golden.images.shape == (32, 1, 8, 8)


def test_stored_logits_are_those_of_the_stored_weights(run: Run) -> None:
    model, golden, test = trained_model(run), run.read_golden(), run.read_logits("test")
    with torch.no_grad():
        logits = model(torch.from_numpy(golden.images)).numpy()
    chosen = np.linspace(0, len(test.labels) - 1, len(golden.labels)).astype(int)
    np.testing.assert_allclose(logits, test.logits[chosen], atol=1e-4)
    np.testing.assert_array_equal(golden.labels, test.labels[chosen])
    accuracy = run.read_metrics()["accuracy"]["test"]
    np.testing.assert_allclose(accuracy["exits"], exit_accuracy(test.logits, test.labels))
    np.testing.assert_allclose(accuracy["top5"], top_k_accuracy(test.logits, test.labels, 5))
    report = ClassReport.of(*test, run.read_metadata().classes)
    assert set(per_class_csv({"test": report}).splitlines()) <= set(run.per_class_path.read_text().splitlines())
    assert set(confusion_csv({"test": report}).splitlines()) <= set(run.confusion_path.read_text().splitlines())


def test_every_epoch_is_on_record_with_exits_and_teachers(run: Run) -> None:
    rows = history(run)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    for column in (
        "calibration/exit1",
        "calibration/exit3",
        "calibration/teacher2",
        "method/teacher1_exit3",
        "loss/labels",
    ):
        assert all(np.isfinite(float(row[column])) for row in rows), column
    weights = [float(rows[-1][f"method/teacher1_exit{k}"]) for k in (1, 2, 3)]
    assert sum(weights) == pytest.approx(1, abs=1e-4)
    assert rows[0]["method/teacher1_exit1"] != rows[-1]["method/teacher1_exit1"]


def test_training_teaches(run: Run) -> None:
    losses = [float(row["loss/labels"]) for row in history(run)]
    assert losses[-1] < losses[0]
    assert min(run.read_metrics()["accuracy"]["test"]["exits"]) > 0.2


class Killed(BaseException):
    """Simulates a power cut: nothing may catch it and tidy up."""


def kill_in_epoch(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    seed = callbacks.SeedEveryEpoch.on_train_epoch_start

    def on_train_epoch_start(self: callbacks.SeedEveryEpoch, trainer: object, module: object) -> None:
        seed(self, trainer, module)  # type: ignore[arg-type]
        if trainer.current_epoch == epoch:  # type: ignore[attr-defined]
            raise Killed

    monkeypatch.setattr(callbacks.SeedEveryEpoch, "on_train_epoch_start", on_train_epoch_start)


@pytest.mark.parametrize(
    "overrides",
    [
        "",
        pytest.param("optimization.ema=0.9 training.precision=bf16", marks=native_bf16),
        "optimization.optimizer=adamw optimization.lr=0.01 training.weights=best optimization.gradient_clip=1",
        "distillation.method=joint_ce optimization.schedule=multi_step optimization.schedule_options.milestones=[2]",
        "data.cache=device",
        "optimization.epochs=5 training.checkpoint_every=3 training.weights=best training.keep_every=2",
    ],
    ids=["sgd", "ema-bf16", "adamw-best-clip", "joint_ce-multi_step", "data-on-device", "some-checkpoints"],
)
def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: str
) -> None:
    recipe = small_recipe(*overrides.split())
    whole = train(recipe, tmp_path / "whole", console=quiet())
    with monkeypatch.context() as patch:
        kill_in_epoch(patch, recipe.optimization.epochs - 1)
        with pytest.raises(Killed):
            train(recipe, tmp_path / "cut", console=quiet())
    torch.rand(3)  # whatever was drawn in between must not matter
    cut = train(recipe, tmp_path / "cut", resume=True, console=quiet())
    assert_same_weights(cut, whole)
    assert cut.read_metrics()["accuracy"] == whole.read_metrics()["accuracy"]
    without_seconds = [{k: v for k, v in row.items() if k != "seconds"} for row in history(cut)]
    assert without_seconds == [{k: v for k, v in row.items() if k != "seconds"} for row in history(whole)]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_resuming_is_exact_where_one_kernel_takes_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    monkeypatch.setattr(optimizers, "_on_gpu", lambda parameter: True)  # torch has such kernels for the CPU too
    recipe = small_recipe(f"optimization.optimizer={optimizer}", "optimization.lr=0.01", "optimization.gradient_clip=1")
    whole = train(recipe, tmp_path / "whole", console=quiet())
    with monkeypatch.context() as patch:
        kill_in_epoch(patch, 2)
        with pytest.raises(Killed):
            train(recipe, tmp_path / "cut", console=quiet())
    assert_same_weights(train(recipe, tmp_path / "cut", resume=True, console=quiet()), whole)


def test_checkpoints_are_written_after_every_so_many_epochs_and_after_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = []
    save = Trainer.save_checkpoint
    monkeypatch.setattr(
        Trainer,
        "save_checkpoint",
        lambda self, *given: (saved.append(self.current_epoch + 1), save(self, *given)),
    )
    train(small_recipe("optimization.epochs=5", "training.checkpoint_every=2"), tmp_path / "run", console=quiet())
    assert saved == [2, 4, 5]


def test_a_run_killed_before_its_first_checkpoint_begins_again(run: Run, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        kill_in_epoch(patch, 0)
        with pytest.raises(Killed):
            train(small_recipe(), tmp_path / "cut", console=quiet())
    assert_same_weights(train(small_recipe(), tmp_path / "cut", resume=True, console=quiet()), run)


@pytest.mark.parametrize("method", ["safe_kd", "mate"])
def test_a_run_killed_after_its_last_epoch_is_finished_with_its_averaged_weights(tmp_path: Path, method: str) -> None:
    recipe = small_recipe("optimization.ema=0.9", f"distillation.method={method}")
    whole = train(recipe, tmp_path / "whole", console=quiet())

    def kill(self: Run, *given: object) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "stream_logits", kill)
        with pytest.raises(Killed):
            train(recipe, tmp_path / "cut", console=quiet())
    cut = train(recipe, tmp_path / "cut", resume=True, console=quiet())
    assert_same_weights(cut, whole)
    for figure in ("accuracy", "method"):
        assert cut.read_metrics()[figure] == whole.read_metrics()[figure]


@pytest.mark.parametrize("cut", ["stream_logits", "write_metrics"])
def test_a_run_killed_after_its_last_epoch_is_finished_by_resuming(run: Run, tmp_path: Path, cut: str) -> None:
    def kill(self: Run, *given: object) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, cut, kill)
        with pytest.raises(Killed):
            train(small_recipe(), tmp_path / "cut", console=quiet())
    cut_run = train(small_recipe(), tmp_path / "cut", resume=True, console=quiet())
    assert_same_weights(cut_run, run)
    assert cut_run.read_metrics()["accuracy"] == run.read_metrics()["accuracy"]
    assert [row["epoch"] for row in history(cut_run)] == ["1", "2", "3"]


def test_images_on_the_device_train_as_those_of_a_loader_do(run: Run, tmp_path: Path) -> None:
    there = train(small_recipe("data.cache=device"), tmp_path / "run", console=quiet())
    assert_same_weights(there, run)
    assert there.read_metrics()["accuracy"] == run.read_metrics()["accuracy"]


def test_the_seed_decides_the_weights(run: Run, tmp_path: Path) -> None:
    assert_same_weights(train(small_recipe(), tmp_path / "again", console=quiet()), run)
    other = train(small_recipe("training.seed=1"), tmp_path / "other", console=quiet())
    assert not torch.equal(weights_of(other)["heads.0.classifier.weight"], weights_of(run)["heads.0.classifier.weight"])


def test_the_best_epoch_is_the_one_that_is_kept(tmp_path: Path) -> None:
    best = train(small_recipe("training.weights=best", "optimization.lr=0.5"), tmp_path / "best", console=quiet())
    means = [float(row["calibration/mean"]) for row in history(best)]
    assert best.read_metrics()["kept_epoch"] == 1 + int(np.argmax(means))
    calibration = best.read_metrics()["accuracy"]["calibration"]["exits"]
    assert np.mean(calibration) == pytest.approx(max(means), abs=1e-5)


def test_a_folder_that_is_taken_is_refused(run: Run) -> None:
    with pytest.raises(RunError, match="not empty"):
        train(small_recipe(), run.path, console=quiet())


def test_resuming_a_finished_run_leaves_it_as_it_is(run: Run) -> None:
    before = run.model_path.stat().st_mtime_ns
    train(small_recipe(), run.path, resume=True, console=quiet())
    assert run.model_path.stat().st_mtime_ns == before


@pytest.mark.parametrize("overrides", [["optimization.lr=0.2"], ["optimization.lr=0.2", "optimization.epochs=9"]])
def test_resuming_with_another_recipe_is_refused(run: Run, overrides: list[str]) -> None:
    with pytest.raises(RunError, match=r"begun with another recipe .* differs in optimization\.lr;"):
        train(small_recipe(*overrides), run.path, resume=True, console=quiet())
    assert run.finished


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_largest_gradients(tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as caught:
        train(small_recipe("optimization.lr=1e30"), tmp_path / "nan", console=quiet())
    message = str(caught.value)
    assert "at step 2 (epoch 1, batch 2)" in message
    assert "largest gradients of the step before: " in message
    assert "model." in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("raised", "expected", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory.\nTried to"), TrainingError, "optimization.batch_size=16: a step"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), DataError, r"was killed \(Killed\)"),
        (RuntimeError("shapes differ"), RuntimeError, "^shapes differ$"),
    ],
)
def test_what_the_machine_lacks_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception, expected: type[Exception], message: str
) -> None:
    def fails(*_: object) -> None:
        raise raised

    monkeypatch.setattr(MultiExitTask, "training_step", fails)
    with pytest.raises(expected, match=message) as caught:
        train(small_recipe("optimization.batch_size=16"), tmp_path / "run", console=quiet())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("exits.at=[stage1, stage9]", "exits.at: unknown cut point 'stage9'"),
        ("exits.head=linear", None),
        ("optimization.schedule_options.milestones=[9]", "milestones: 9 is never reached in 3 epochs"),
        ("exits.head=linear & optimization.schedule_options.milestones=[]", None),
        ("training.precision=fp16", "training.precision: fp16 needs a GPU"),
        ("training.cuda_graphs=true", "training.cuda_graphs: it needs training.compile and a GPU"),
        (
            "data.cache=device & data.augmentation=[horizontal_flip,color_jitter]",
            r"data\.augmentation\.1: color_jitter is not made on the device; .* horizontal_flip and rand_augment only",
        ),
        (
            "data.cache=device & data.unlabeled.limit=10",
            "data.cache: device knows one domain only",
        ),
    ],
)
def test_what_only_the_parts_know_is_checked_before_any_data_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str, message: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    overrides = [*override.split(" & "), "distillation.method=byot"]
    if "milestones" in override:
        overrides.append("optimization.schedule=multi_step")
    with pytest.raises(RecipeError, match=message or "distillation: byot compares"):
        train(small_recipe(*overrides), tmp_path / "run", console=quiet())
    assert not (tmp_path / "run").exists()


def test_a_training_tells_how_far_it_is_and_leaves_no_trace_of_it(tmp_path: Path) -> None:
    screen, told = io.StringIO(), Told()
    run = train(small_recipe("optimization.epochs=2"), tmp_path / "run", console=Console(file=screen), progress=told)
    steps = len(told.of("epoch 2/2, step"))
    assert steps == len(told.of("epoch 1/2, step")) > 1
    last = told.of("epoch 2/2, step")[-1]
    assert last.startswith(f"epoch 2/2, step: {steps} of {steps}, ")
    for message in ("images/s", "loss ", "exits ", "training 0:00 left"):
        assert message in last
    assert told.of("epoch 1/2, calibration split, batch")
    assert told.of("evaluating the test split, image")[-1] == "evaluating the test split, image: 449 of 449"
    assert not run.progress_path.exists()


def test_the_header_says_what_is_trained_on_what_before_the_first_epoch(tmp_path: Path) -> None:
    screen = io.StringIO()
    train(small_recipe("optimization.epochs=1"), tmp_path / "run", console=Console(file=screen))
    header, _, epochs = screen.getvalue().partition("epoch 1/1")
    assert epochs
    lines = dict(line.split("  ", 1) for line in header.splitlines())
    assert "images: 512 training, " in lines["dataset"]
    assert "449 test" in lines["dataset"]
    assert "resnet8" in lines["network"]
    last = count_costs(trained_model(Run.open(tmp_path / "run")), (1, 8, 8)).exits[-1]
    assert lines["exits"].endswith(f"3 stage3 {engineering(last.macs)} MACs")
    assert lines["precision"].startswith("fp32 (") or lines["precision"].startswith("bf16 (")
    assert "16 per epoch of 32 images, 16 in 1 epoch" in lines["steps"]


def test_a_damaged_test_image_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for split in ("train", "test"):
        write_folders(folder / split, per_class=6)
    (folder / "test" / "dog" / "5.png").write_text("no image")
    images = ("data.name=image_folder", f"data.options.path={folder}", "data.image_size=8", "optimization.epochs=1")
    with pytest.raises(DataError, match=r"test 1 of 12(.|\n)*5\.png: is not an image"):
        train(small_recipe(*images), tmp_path / "run", console=quiet())
    assert not (tmp_path / "run").exists()
    screen = io.StringIO()
    run = train(small_recipe(*images, "data.skip_damaged=true"), tmp_path / "run", console=Console(file=screen))
    assert run.read_metadata().images["test"] == 11
    assert screen.getvalue().count("damaged image files left out: 1, the first one") == 1


def test_a_run_is_replaced_only_once_the_new_one_can_begin(tmp_path: Path) -> None:
    before = train(small_recipe("optimization.epochs=1"), tmp_path / "run", console=quiet())
    kept = before.model_path.read_bytes()
    absent = small_recipe("data.name=arrays", "data.options.path=nowhere.npz")
    with pytest.raises(DataError):
        train(absent, before.path, replace=True, console=quiet())
    assert before.model_path.read_bytes() == kept
    again = train(small_recipe("optimization.epochs=1", "training.seed=1"), before.path, replace=True, console=quiet())
    assert again.model_path.read_bytes() != kept


def test_a_folder_that_is_not_a_run_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()
    with pytest.raises(RunError, match="not a run"):
        train(small_recipe("optimization.epochs=1"), tmp_path / "photos", replace=True, console=quiet())
    assert (tmp_path / "photos" / "cat.png").exists()
