"""`compare --tune`: the same number of settings for every method, and the best of them for the table."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from in_process import InProcess

from edgemate.comparison import Comparison, compare, parse_variants
from edgemate.comparison.trials import SEED, diverged_path, trial_run
from edgemate.errors import RunError, TrainingError, UsageError
from edgemate.runs import Run
from recipes import SMALL

pytest.importorskip("optuna", reason="Optuna is not installed")

FAST = ["optimization.epochs=1", "data.train_limit=64", "data.augmentation=[]", "model.options.width=4"]
METHODS = "joint_ce,mate:proximity=0"


def tuned(recipe: Path, output: Path, tune: int = 4, *extra: str, **options: Any) -> Comparison:
    return compare(
        recipe,
        parse_variants(METHODS),
        [0, 1],
        output,
        overrides=[*FAST, *extra],
        engine="in_process:InProcess",
        engine_options=options,
        tune=tune,
        report=lambda line: None,
    )


@pytest.fixture(scope="module")
def finished(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison with 6 settings; tests must not change it."""
    folder = tmp_path_factory.mktemp("comparisons") / "tuned"
    InProcess.started.clear()
    tuned(recipe, folder, 6)
    (folder.parent / "order.json").write_text(json.dumps(InProcess.started))
    return folder


def test_every_method_has_as_many_trainings_which_the_table_and_the_json_say(finished: Path) -> None:
    tree = json.loads((finished / "comparison.json").read_text())
    assert tree["tuned"] == 6
    assert "lr" not in tree["recipe"]["optimization"]
    assert [row["trainings"] for row in tree["methods"]] == [8, 8]
    order = json.loads((finished.parent / "order.json").read_text())
    assert len(order) == len(set(order)) == 16
    # Both methods are tried in rounds, then both are trained with all seeds.
    assert [name.rpartition("-")[2] for name in order[:8]] == [f"trial{n}" for n in (1, 2, 3, 4)] * 2
    assert [name.rpartition("-")[2] for name in order[12:]] == ["seed0", "seed0", "seed1", "seed1"]
    table = (finished / "comparison.md").read_text()
    for row in tree["methods"]:
        best = row["trials"][row["best"] - 1]
        assert (
            f"| `{row['label']}` | 8 | {100 * row['trials'][0]['accuracy']:.2f} | {100 * best['accuracy']:.2f} |"
            in table
        )


def test_the_best_setting_on_the_calibration_split_is_that_of_all_runs(finished: Path) -> None:
    for row in json.loads((finished / "comparison.json").read_text())["methods"]:
        for trial in row["trials"]:
            run = Run.open(finished / trial["run"])
            exits = run.read_metrics()["accuracy"]["calibration"]["exits"]
            assert trial["accuracy"] == pytest.approx(sum(exits) / len(exits))
            assert run.read_recipe().training.seed == SEED
        accuracies = [trial["accuracy"] for trial in row["trials"]]
        assert row["trials"][0]["setting"] == {}
        assert row["best"] == accuracies.index(max(accuracies)) + 1
        own = Run.open(finished / row["trials"][0]["run"]).read_recipe()
        assert own.optimization.lr == SMALL["optimization"]["lr"]
        best = Run.open(finished / row["trials"][row["best"] - 1]["run"]).read_recipe()
        for run in row["runs"]:
            recipe = Run.open(finished / run["run"]).read_recipe()
            assert recipe.optimization == best.optimization
            assert recipe.distillation == best.distillation
            assert recipe.training.seed == run["seed"]
        if row["label"] != "joint_ce":
            assert {run.read_recipe().distillation.options["proximity"] for run in trials(finished, row)} == {0}
            assert len({run.read_recipe().distillation.options["alpha"] for run in trials(finished, row)}) == 6


def trials(folder: Path, row: dict[str, Any]) -> list[Run]:
    return [Run(folder / trial["run"]) for trial in row["trials"]]


def test_an_interrupted_tuning_resumes_to_the_same_result(finished: Path, recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tuned"
    with pytest.raises(KeyboardInterrupt):
        tuned(recipe, folder, 6, at_most=9)  # in the second round
    InProcess.started.clear()
    tuned(recipe, folder, 6)
    assert len(InProcess.started) == 7
    assert strip(folder) == strip(finished)


def strip(folder: Path) -> list[dict[str, Any]]:
    rows = json.loads((folder / "comparison.json").read_text())["methods"]
    return [{**row, "over_seeds": None, "runs": [run["test"] for run in row["runs"]]} for row in rows]


def test_a_finished_one_trains_nothing_again(finished: Path, recipe: Path) -> None:
    before = strip(finished)
    InProcess.started.clear()
    tuned(recipe, finished, 6)
    assert not InProcess.started
    assert strip(finished) == before


def test_runs_of_another_budget_are_refused_before_anything_is_trained(
    finished: Path, recipe: Path, tmp_path: Path
) -> None:
    InProcess.started.clear()
    with pytest.raises(RunError, match=r"joint_ce-seed0: was begun without tuning, or with fewer settings \(.*trial7"):
        tuned(recipe, finished, 8)
    folder = Path(shutil.copytree(finished, tmp_path / "other"))
    with pytest.raises(RunError, match=r"trial1: is a run of another recipe \(optimization.batch_size is 32 there"):
        tuned(recipe, folder, 6, "optimization.batch_size=16")
    assert not InProcess.started


def test_a_setting_whose_loss_is_not_finite_is_a_result(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tuned"
    for trained in (["joint_ce-trial1", "joint_ce-trial2", "joint_ce-trial3", "joint_ce-seed0"], []):
        InProcess.started.clear()
        found = compare(
            recipe,
            parse_variants("joint_ce"),
            [0],
            folder,
            overrides=FAST,
            engine="in_process:InProcess",
            engine_options={"diverging": "trial2"},
            tune=3,
            report=lambda line: None,
        )
        assert InProcess.started == trained  # what diverged is not trained again
        (row,) = found.methods
        assert row.trials[1].accuracy is None
        assert row.best in (1, 3)
        assert row.trainings == 4


def test_a_method_whose_loss_is_never_finite_is_an_error(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "wild"
    lines: list[str] = []
    (variant,) = parse_variants("joint_ce")

    def run_it() -> Comparison:
        return compare(
            recipe,
            [variant],
            [0],
            folder,
            overrides=[*FAST, "optimization.lr=1.0e+30"],
            engine="in_process:InProcess",
            tune=2,
            report=lines.append,
        )

    for expected in (["joint_ce-trial1", "joint_ce-trial2"], []):  # what diverged is not trained again
        InProcess.started.clear()
        with pytest.raises(TrainingError, match="joint_ce: the loss was not finite with any of 2 settings"):
            run_it()
        assert InProcess.started == expected
    assert "the loss is nan" in diverged_path(trial_run(folder, variant, 1)).read_text()
    assert lines[-1] == "2 of 3 runs are finished already"


def test_without_optuna_there_is_one_line(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "optuna" else find(name))
    with pytest.raises(UsageError, match=r"tune: Optuna is not installed; pip install 'edgemate\[tune\]'"):
        tuned(recipe, tmp_path / "none")
