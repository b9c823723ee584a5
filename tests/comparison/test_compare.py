from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from prepared import edgemate, started

from edgemate.comparison import compare, comparing, parse_variants
from edgemate.errors import RecipeError, RunError, UsageError
from edgemate.runs import Run

FAST = [
    "optimization.epochs=1",
    "data.train_limit=64",
    "data.augmentation=[]",
    "model.options.width=4",
    "distillation.method=mate",
    "distillation.options.alpha=0.5",
]
VARIANTS = "joint_ce,mate:proximity=0"


@pytest.fixture(scope="module")
def compared(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison of two methods with one seed; tests must not change it."""
    folder = tmp_path_factory.mktemp("comparisons") / "small"
    lines: list[str] = []
    compare(recipe, parse_variants(VARIANTS), [3], folder, overrides=FAST, jobs=2, report=lines.append)
    assert [line.split()[0] for line in lines] == ["1/2", "2/2"]
    return folder


def test_every_run_is_an_ordinary_run_that_differs_in_the_objective_alone(compared: Path) -> None:
    one, other = Run.open(compared / "joint_ce-seed3"), Run.open(compared / "mate_proximity=0-seed3")
    assert json.loads(one.environment_path.read_text())["command"][:2] == ["edgemate", "train"]
    ours, theirs = one.read_recipe(), other.read_recipe()
    assert ours.training == theirs.training
    assert ours.training.seed == 3
    assert ours.optimization == theirs.optimization
    assert ours.distillation.method == "joint_ce"
    assert theirs.distillation.options["proximity"] == 0
    assert theirs.distillation.options["alpha"] == 0.5  # the recipe's own
    assert "epoch 1/1" in (compared / "logs" / "joint_ce-seed3.log").read_text()


def test_json_table_and_plot_say_what_the_runs_say(compared: Path) -> None:
    found = json.loads((compared / "comparison.json").read_text())
    assert [row["label"] for row in found["methods"]] == ["joint_ce", "mate:proximity=0"]
    for row in found["methods"]:
        (run,) = row["runs"]
        metrics = Run.open(compared / run["run"]).read_metrics()
        assert run["test"]["exits"] == pytest.approx(metrics["accuracy"]["test"]["exits"])
        assert run["calibration"]["exits"] == pytest.approx(metrics["accuracy"]["calibration"]["exits"])
        assert run["test"]["ensemble"] == pytest.approx(metrics["accuracy"]["test"]["ensemble"])
        assert row["macs"] == sorted(row["macs"])
    assert "distillation" not in found["recipe"]
    assert found["machine"]["cores"] >= 1
    assert "| `mate:proximity=0` |" in (compared / "comparison.md").read_text()
    assert (compared / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_finished_runs_are_not_trained_again(compared: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a training was started")

    monkeypatch.setattr("edgemate.comparison.running.Training.start", refuse)
    lines: list[str] = []
    found = compare(recipe, parse_variants("joint_ce"), [3], compared, overrides=FAST, report=lines.append)
    unused, already = lines  # the options are of mate
    assert "override of distillation.options has no effect" in unused
    assert already == "1 of 1 run is finished already"
    assert len(found.methods) == 1
    compare(recipe, parse_variants(VARIANTS), [3], compared, overrides=FAST, report=lines.append)


@pytest.mark.parametrize(
    "content", ['{"jobs": 1e999, "threads": 1}', "[" * 200_000, '{"jobs": -5, "threads": 1}', '{"jobs": true}', "FIFO"]
)
def test_how_it_was_trained_is_unknown_where_that_cannot_be_read(tmp_path: Path, content: str) -> None:
    path = tmp_path / "comparison.json"
    if content == "FIFO":
        os.mkfifo(path)  # nobody may ever write to it
    else:
        path.write_text(content)
    assert comparing._stored_placing(tmp_path) is None
    path.unlink()
    path.write_text('{"jobs": 2, "threads": 3}')
    assert comparing._stored_placing(tmp_path) == (2, 3)


def test_a_changed_recipe_is_refused_with_what_changed(compared: Path, recipe: Path) -> None:
    with pytest.raises(RunError) as caught:
        compare(recipe, parse_variants(VARIANTS), [3], compared, overrides=[*FAST, "optimization.lr=0.2"])
    assert "joint_ce-seed3: is a run of another recipe (optimization.lr is 0.1 there, 0.2 here)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_of_an_older_format_is_refused(compared: Path, recipe: Path, tmp_path: Path) -> None:
    older = Path(shutil.copytree(compared, tmp_path / "older"))
    run = Run(older / "joint_ce-seed3")
    run.metadata_path.rename(run.path / "facts.json")
    with pytest.raises(RunError, match=r"joint_ce-seed3: was written by an older edgemate \(format 1\)"):
        compare(recipe, parse_variants(VARIANTS), [3], older, overrides=FAST)


def test_an_unfinished_run_is_resumed(compared: Path, recipe: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(compared, tmp_path / "small"))
    begun, never = folder / "joint_ce-seed3", folder / "mate_proximity=0-seed3"
    history = (begun / "history.csv").read_text()
    (begun / "model.safetensors").unlink()
    (begun / "metrics.json").unlink()
    shutil.rmtree(never)
    never.mkdir()  # as a kill may leave it
    engine = "in_process:InProcess"
    compare(recipe, parse_variants(VARIANTS), [3], folder, overrides=FAST, engine=engine, report=lambda line: None)
    assert (begun / "history.csv").read_text() == history  # its one epoch was not trained again
    before, after = (json.loads((place / "comparison.json").read_text()) for place in (compared, folder))
    for one, other in zip(before["methods"], after["methods"], strict=True):
        assert one["runs"][0]["test"] == other["runs"][0]["test"]


def test_the_problems_of_any_method_come_before_any_training(recipe: Path, tmp_path: Path) -> None:
    for overrides, message in (
        (["training.weights=best"], "training.weights: must be last in a comparison"),
        (["training.patience=2"], "training.patience: must be absent in a comparison"),
        (["exits.head=linear"], "methods byot: distillation: byot compares"),
    ):
        with pytest.raises(RecipeError, match=message):
            compare(recipe, parse_variants("joint_ce,byot"), [0], tmp_path / "none", overrides=overrides)
    with pytest.raises(UsageError, match="seeds '1,1': must be different, not negative"):
        compare(recipe, parse_variants("joint_ce"), [1, 1], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_killed_comparison_resumes_its_trainings(recipe: Path, tmp_path: Path) -> None:
    settings = [part for override in [*FAST, "optimization.epochs=8"] for part in ("--set", override)]
    command = ["compare", recipe, "--methods", "joint_ce", "--seeds", "0", *settings, "--output", tmp_path / "c"]
    run = Run(tmp_path / "c" / "joint_ce-seed0")
    checkpoint = run.checkpoints_path / "last.ckpt"
    with started(*command, cwd=tmp_path) as process:
        deadline = time.monotonic() + 120
        while not checkpoint.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        process.kill()
    assert checkpoint.exists()
    time.sleep(1.0)  # an orphan would go on meanwhile
    assert not run.finished
    result = edgemate(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "1/1  joint_ce-seed0" in result.stdout
    assert "mean" in result.stdout
    assert run.finished
