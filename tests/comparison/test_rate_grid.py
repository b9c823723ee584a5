"""`compare --rates`: every method at the same learning rates, and the best of them for the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from in_process import InProcess

from edgemate.comparison import Comparison, compare, parse_variants
from edgemate.comparison.rate_grid import edge
from edgemate.comparison.trials import SEED
from edgemate.errors import RunError
from edgemate.runs import Run

FAST = ["optimization.epochs=1", "data.train_limit=64", "data.augmentation=[]", "model.options.width=4"]
RATES = (0.1, 0.01, 0.0001)


def compared(
    recipe: Path, output: Path, rates: tuple[float, ...] = RATES, lines: list[str] | None = None, **options: Any
) -> Comparison:
    return compare(
        recipe,
        parse_variants("joint_ce,mate:proximity=0"),
        [0, 1],
        output,
        overrides=FAST,
        engine="in_process:InProcess",
        engine_options=options,
        rates=rates,
        report=lambda line: None if lines is None else lines.append(line),
    )


@pytest.fixture(scope="module")
def finished(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A finished comparison at three rates and what it reported; tests must not change the folder."""
    folder, lines = tmp_path_factory.mktemp("comparisons") / "rates", list[str]()
    compared(recipe, folder, lines=lines)
    return folder, lines


def test_every_method_is_tried_at_every_rate_and_trained_at_its_best(finished: tuple[Path, list[str]]) -> None:
    folder, lines = finished
    tree = json.loads((folder / "comparison.json").read_text())
    assert tree["rates"] == list(RATES)
    assert "lr" not in tree["recipe"]["optimization"]
    for row in tree["methods"]:
        assert row["trainings"] == 5
        assert [trial["setting"] for trial in row["trials"]] == [{"optimization.lr": rate} for rate in RATES]
        for trial, rate in zip(row["trials"], RATES, strict=True):
            run = Run.open(folder / trial["run"])
            assert (run.read_recipe().optimization.lr, run.read_recipe().training.seed) == (rate, SEED)
            exits = run.read_metrics()["accuracy"]["calibration"]["exits"]
            assert trial["accuracy"] == pytest.approx(sum(exits) / len(exits))
        accuracies = [trial["accuracy"] for trial in row["trials"]]
        assert row["best"] == accuracies.index(max(accuracies)) + 1
        chosen = RATES[row["best"] - 1]
        for run in row["runs"]:
            assert Run.open(folder / run["run"]).read_recipe().optimization.lr == chosen
        assert any(line.startswith(f"{row['label']}: lr {chosen:g} is the best of 3") for line in lines)


def test_the_table_has_the_accuracy_at_every_rate_with_the_chosen_one_bold(finished: tuple[Path, list[str]]) -> None:
    folder, _ = finished
    table = (folder / "comparison.md").read_text()
    assert "| method | trainings | lr 0.1 | lr 0.01 | lr 0.0001 |" in table
    for row in json.loads((folder / "comparison.json").read_text())["methods"]:
        shown = [f"{100 * trial['accuracy']:.2f}" for trial in row["trials"]]
        shown[row["best"] - 1] = f"**{shown[row['best'] - 1]}**"
        assert f"| `{row['label']}` | 5 | {' | '.join(shown)} |" in table


def test_what_is_best_at_an_end_of_the_rates_is_said(recipe: Path, tmp_path: Path) -> None:
    """1e-9 and 1e-8 train nothing, so that one of the two ends is the best."""
    lines: list[str] = []
    found = compared(recipe, tmp_path / "rates", (1e-9, 1e-8), lines)
    table = (tmp_path / "rates" / "comparison.md").read_text()
    for method in found.methods:
        assert method.chosen is not None
        side = "highest" if method.chosen.setting["optimization.lr"] == 1e-8 else "lowest"
        assert any(line.startswith(f"{method.label}: ") and f"and the {side}: " in line for line in lines)
        assert f"`{method.label}` at the {side}" in table


def test_an_end_is_where_no_rate_was_tried_beyond() -> None:
    assert [edge((0.2, 0.1, 0.4), rate) for rate in (0.2, 0.1, 0.4)] == [None, "lowest", "highest"]


def test_an_interrupted_one_resumes_and_a_longer_one_keeps_its_trials(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "rates"
    with pytest.raises(KeyboardInterrupt):
        compared(recipe, folder, at_most=3)
    InProcess.started.clear()
    compared(recipe, folder)
    assert len(InProcess.started) == 7
    InProcess.started.clear()
    with pytest.raises(RunError, match=r"seed0: was begun without tuning, or with fewer settings \(.*trial4"):
        compared(recipe, folder, (*RATES, 0.2))
    assert not InProcess.started


def test_a_rate_whose_loss_is_not_finite_is_a_result(recipe: Path, tmp_path: Path) -> None:
    found = compared(recipe, tmp_path / "rates", diverging="joint_ce-trial1")
    row = found.methods[0]
    assert row.trials[0].accuracy is None
    assert row.best in (2, 3)
    assert "| diverged |" in (tmp_path / "rates" / "comparison.md").read_text()
