"""The page of a comparison."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import browser, console_errors, missing, open_page, requests
from comparisons import comparison, method

from edgemate.calibration import simulate
from edgemate.comparison import Comparison
from edgemate.policies import Confidence
from edgemate.profiling.at_thresholds import fitted_temperatures
from edgemate.report import write_comparison_report
from edgemate.report.budgets import solve_budgets
from edgemate.report.comparison_page import mean_levels
from edgemate.report.gains import LEVELS, MethodGain, run_gain
from edgemate.runs import Run

SEEDS = 2
WORSE, BETTER = [(0.5, 0.6, 0.7), (0.5, 0.62, 0.7)], [(0.6, 0.7, 0.8), (0.62, 0.7, 0.8)]


@pytest.fixture(scope="module")
def compared(finished_run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Path]:
    """Two methods with two seeds each, whose logits are those of the small run with noise."""
    folder = tmp_path_factory.mktemp("comparisons")
    found = comparison(method("joint_ce", WORSE), method("mate:proximity=0 & <b>x</b>", BETTER))
    for number, rows in enumerate(found.methods):
        for run in rows.runs:
            copy = Run(Path(shutil.copytree(finished_run.path, folder / run.run)))
            random = np.random.default_rng([number, run.seed])
            for split in ("calibration", "test"):
                logits, labels = copy.read_logits(split)  # type: ignore[arg-type]
                noise = random.standard_normal(logits.shape).astype(np.float32)
                copy.write_logits(split, logits + noise, labels)  # type: ignore[arg-type]
    return found, folder


@pytest.fixture(scope="module")
def comparison_page(compared: tuple[Comparison, Path]) -> Path:
    return write_comparison_report(*compared)


def test_levels_are_means_over_seeds_of_what_the_thresholds_do(compared: tuple[Comparison, Path]) -> None:
    found, folder = compared
    rows = found.methods[0]
    runs = [Run(folder / run.run) for run in rows.runs]
    gain = MethodGain(rows, tuple(run_gain(run, rows.chained_macs) for run in runs))
    levels = mean_levels(gain)
    assert len(levels) == LEVELS
    outcomes = []
    for run in runs:
        calibration, test = run.read_logits("calibration"), run.read_logits("test")
        budget = solve_budgets(*calibration, rows.chained_macs, LEVELS)[6]
        policy = Confidence(budget.thresholds, temperature=fitted_temperatures(*calibration))
        outcomes.append(simulate(*test, rows.chained_macs, policy))
    accuracies = [one.accuracy for one in outcomes]
    assert levels[6].accuracy == pytest.approx(np.mean(accuracies))
    assert levels[6].macs == pytest.approx(np.mean([one.mean_cost for one in outcomes]))
    assert levels[6].deviation == pytest.approx(np.std(accuracies, ddof=1))
    assert mean_levels(replace(gain, runs=gain.runs[:1]))[0].deviation is None


def test_networks_with_one_exit_have_no_budgets(compared: tuple[Comparison, Path], tmp_path: Path) -> None:
    found, folder = compared
    single = comparison(method("joint_ce", [(0.5,)]))
    run = Run(Path(shutil.copytree(folder / found.methods[0].runs[0].run, tmp_path / "joint_ce-seed0")))
    for split in ("calibration", "test"):
        logits, labels = run.read_logits(split)  # type: ignore[arg-type]
        run.write_logits(split, logits[:, :1], labels)  # type: ignore[arg-type]
    text = write_comparison_report(single, tmp_path).read_text()
    assert 'id="content"' not in text
    assert "50.00 %" in text


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_the_slider_ranks_the_methods(chromium: Any, comparison_page: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    chromium.get("about:blank")
    requests(chromium)
    open_page(chromium, comparison_page)
    assert console_errors(chromium) == []
    assert requests(chromium) == [comparison_page.as_uri()]
    rows = "return [...document.querySelectorAll(arguments[0] + ' tr')].map((row) => row.innerText.split('\\t'))"
    best = chromium.execute_script(rows, "#methods tbody")
    assert [row[0] for row in best] == ["mate:proximity=0 & <b>x</b>", "joint_ce"]
    assert best[1][2] == "50.00 % ± 0.00"
    slider = chromium.find_element(By.ID, "budget")
    slider.send_keys(Keys.HOME)
    cheapest = chromium.execute_script(rows, "#budgeted")
    assert cheapest == sorted(cheapest, key=lambda row: -float(row[1].split()[0]))
    slider.send_keys(Keys.END)
    assert chromium.execute_script(rows, "#budgeted") != cheapest
    assert slider.get_attribute("aria-valuetext") == "at most 3 M"


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_a_phone_shows_it_without_scrolling_sideways(comparison_page: Path) -> None:
    with browser(360, 740, dark=True) as driver:
        open_page(driver, comparison_page)
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 360
