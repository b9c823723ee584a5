import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from prepared import edgemate, running, started
from stopped_commands import interrupted_in_a_destructor

from edgemate.runs import Run, read_tensors
from recipes import SMALL

COMMAND = [sys.executable, "-m", "edgemate", "train"]


def edgemate_train(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return edgemate("train", *arguments, cwd=cwd)


def write_recipe(folder: Path, **sections: object) -> Path:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL | sections))
    return path


def one_line_error(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_stopped_from_the_keyboard_a_run_says_how_to_go_on(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, optimization=SMALL["optimization"] | {"epochs": 500, "lr": 0.001})
    with started("train", recipe, "--output", "run", cwd=tmp_path) as process:
        deadline = time.monotonic() + 120
        while not (tmp_path / "run/checkpoints/last.ckpt").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        code, _, told = process.wait(60)
    assert code == 130
    assert told.split("\n") == ["the same command with --resume continues from the last checkpoint", "stopped", ""]


def test_an_interrupt_that_python_drops_stops_a_run_all_the_same(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, optimization=SMALL["optimization"] | {"epochs": 500, "lr": 0.001})
    command = ("train", str(recipe), "--output", "run", "--quiet")
    with running(interrupted_in_a_destructor, *command, cwd=tmp_path) as process:
        code, _, told = process.wait(120)
    assert code == 130
    assert told.split("\n") == ["the same command with --resume continues from the last checkpoint", "stopped", ""]
    assert (tmp_path / "run/checkpoints/last.ckpt").exists()


def test_killed_in_mid_epoch_a_run_resumes_to_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    # Epochs long enough that a kill soon after the second one began lies well inside it.
    data = {"name": "digits", "augmentation": [{"random_affine": {}}]}
    recipe = write_recipe(tmp_path, data=data)
    checkpoint = tmp_path / "cut" / "checkpoints" / "last.ckpt"
    with started("train", recipe, "--output", tmp_path / "cut", cwd=tmp_path) as process:
        deadline = time.monotonic() + 120
        while not checkpoint.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.1)
        process.kill()
    cut = Run.open(tmp_path / "cut", finished=False)
    assert checkpoint.exists()
    assert not cut.finished
    epochs = len(cut.history_path.read_text().splitlines()) - 1
    assert 1 <= epochs < 3

    resumed = edgemate_train(recipe, "--output", tmp_path / "cut", "--resume", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert edgemate_train(recipe, "--output", tmp_path / "whole", cwd=tmp_path).returncode == 0
    for file in ("model.safetensors", "method.safetensors"):
        ours, theirs = read_tensors(tmp_path / "cut" / file), read_tensors(tmp_path / "whole" / file)
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert torch.equal(value, theirs[name]), name


@pytest.fixture(scope="module")
def folder_with_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe and the run of it."""
    folder = tmp_path_factory.mktemp("train")
    recipe = write_recipe(folder)
    result = edgemate_train(recipe.name, "--set", "optimization.epochs=1", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert "next: edgemate profile runs/small" in result.stdout
    return folder


def test_a_run_is_named_after_its_recipe_and_overrides_are_kept(folder_with_recipe: Path) -> None:
    assert Run.open(folder_with_recipe / "runs" / "small").read_recipe().optimization.epochs == 1


def test_a_run_is_never_written_over_by_accident(folder_with_recipe: Path) -> None:
    error = one_line_error(edgemate_train("small.yaml", cwd=folder_with_recipe))
    assert "runs/small: already exists; --resume continues it, --force trains it anew" in error


def test_force_deletes_runs_and_nothing_else(folder_with_recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()
    error = one_line_error(
        edgemate_train("small.yaml", "--output", tmp_path / "photos", "--force", cwd=folder_with_recipe)
    )
    assert "not a run" in error
    assert (tmp_path / "photos" / "cat.png").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data: [", "is not valid YAML"),
        (
            "data: {name: digits}\nmodel: {backbone: resnet8}\noptimization: {epoch: 3, epochs: 1}",
            "optimization.epoch: unknown key",
        ),
        (
            "data: {name: image_folder, image_size: 32, options: {path: nowhere}}\n"
            "model: {backbone: resnet8}\noptimization: {epochs: 1}",
            "nowhere",
        ),
    ],
    ids=["no-yaml", "unknown-key", "missing-data"],
)
def test_a_recipe_that_cannot_be_used_is_one_line_and_leaves_nothing(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    assert said in one_line_error(edgemate_train("bad.yaml", cwd=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["bad.yaml"]


def test_an_unknown_recipe_is_one_line_with_the_closest(tmp_path: Path) -> None:
    error = one_line_error(edgemate_train("digits/resnet8_mat", cwd=tmp_path))
    assert "did you mean 'digits/resnet8_mate'" in error


def test_piped_a_training_says_at_once_what_it_is_about_to_do_and_each_line_when_it_is_true(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    lines = []
    begun = {}
    with started("train", recipe, "--output", "run", cwd=tmp_path, piped=True) as process:
        with process.stdout.open(encoding="utf-8") as printed:
            for line in printed:
                lines.append(line)
                begun[line] = (tmp_path / "run" / "history.csv").exists()
        code, _, errors = process.wait(60)
    assert code == 0, errors
    assert lines[0].startswith("training run by ")
    assert "resnet8, mate, 3 epochs, batches of 32" in lines[0]
    first_epoch = next(i for i, line in enumerate(lines) if line.startswith("epoch 1/3"))
    header = [line.split()[0] for line in lines[1:first_epoch]]
    assert header == ["dataset", "input", "images", "network", "exits", "device", "precision", "steps"]
    assert not any(begun[line] for line in lines[:first_epoch])  # nothing is held back until the end


def test_the_first_line_does_not_wait_for_torch(tmp_path: Path) -> None:
    # A torch that cannot be imported: whatever is printed before it is asked for is printed nevertheless.
    (tmp_path / "torch.py").write_text("raise SystemExit('torch is asked for')")
    recipe = write_recipe(tmp_path)
    result = subprocess.run(
        [*COMMAND, recipe.name],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "torch is asked for" in result.stderr
    assert result.stdout.startswith(f"training {Path('runs/small')} by {recipe.name}: resnet8, mate, 3 epochs")


def test_quiet_prints_the_result_and_nothing_else(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    result = edgemate_train(recipe, "--set", "optimization.epochs=1", "--quiet", "--output", "run", cwd=tmp_path)
    assert result.returncode == 0
    assert result.stderr == ""
    assert result.stdout.startswith("run: top-1 accuracy, %")
    assert "next: edgemate profile run" in result.stdout
    assert not any(said in result.stdout for said in ("epoch 1/1", "dataset", "loading PyTorch"))
