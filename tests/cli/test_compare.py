from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import invoke
from comparisons import comparison, method

from edgemate.cli.compare import compare
from edgemate.errors import UsageError


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the command asked for; nothing is trained."""
    made: list[dict[str, Any]] = []

    def record(path: Path, variants: Any, seeds: Any, output: Path, **options: Any) -> Any:
        made.append({"path": path, "labels": [v.label for v in variants], "seeds": seeds, "output": output, **options})
        output.mkdir(parents=True)
        (output / "comparison.md").write_text("| method |\n|---|\n| `mate` |\n")
        (output / "gains.md").write_text("# what a user gains\n")
        return comparison(method("mate", [(0.5, 0.6)]))

    monkeypatch.setattr("edgemate.comparison.compare", record)
    monkeypatch.setattr("edgemate.report.write_comparison_report", lambda *_, **__: None)
    return made


def test_methods_seeds_and_the_rest_reach_the_comparison(
    calls: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["digits/resnet8_mate", "--methods", "mate,joint_ce", "--seeds", "4,5", "--jobs", 2]
    result = invoke(compare, *arguments, "--set", "optimization.epochs=1")
    assert result.exit_code == 0, result.output
    (call,) = calls
    assert call["labels"] == ["mate", "joint_ce"]
    assert call["seeds"] == [4, 5]
    assert call["jobs"] == 2
    assert call["overrides"] == ["optimization.epochs=1"]
    assert call["output"] == Path("comparisons/digits-resnet8_mate")
    assert "mate" in result.stdout
    assert "comparison.png" in result.stdout
    assert "comparison.html" in result.stdout
    assert "what a user gains" in result.stdout


def test_engine_and_tuning_reach_the_comparison(calls: list[dict[str, Any]], tmp_path: Path) -> None:
    pytest.importorskip("ray")
    pytest.importorskip("optuna")
    arguments = ["digits/resnet8_mate", "--methods", "mate", "--seeds", "0", "--output", tmp_path / "c"]
    assert invoke(compare, *arguments, "--tune", 4, "--engine", "ray", "--cpus-per-run", 2).exit_code == 0
    (call,) = calls
    assert (call["tune"], call["engine"], call["engine_options"]) == (4, "ray", {"cpus_per_run": 2})
    assert call["jobs"] is None


def test_learning_rates_reach_the_comparison(calls: list[dict[str, Any]], tmp_path: Path) -> None:
    arguments = ["digits/resnet8_mate", "--methods", "mate", "--seeds", "0", "--output", tmp_path / "c"]
    assert invoke(compare, *arguments, "--rates", "0.1,2e-1").exit_code == 0
    (call,) = calls
    assert (call["tune"], call["rates"]) == (0, [0.1, 0.2])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--rates", "0.1,b"), "rates '0.1,b': should be comma-separated numbers"),
        (("--rates", ""), "rates '': should be comma-separated numbers"),
        (("--rates", "0.1"), "rates '0.1': must be different, positive, and two at least"),
        (("--rates", "0.1,0.10"), "rates '0.1,0.1': must be different"),
        (("--rates", "0.1,nan"), "rates '0.1,nan': must be different, positive"),
        (("--rates", "0.1,inf"), "rates '0.1,inf': must be different, positive"),
        (("--rates", "0,0.1"), "rates '0,0.1': must be different, positive"),
        (("--rates", "0.1,0.2", "--tune", 4), "tune and rates: give one of them"),
        (("--rates", "0.1,0.2", "--seeds", "1000000"), "seeds: 1000000 is that of the trials that `rates` chooses by"),
    ],
)
def test_rates_that_cannot_be_used_are_refused(
    calls: list[dict[str, Any]], tmp_path: Path, given: tuple[Any, ...], message: str
) -> None:
    result = invoke(compare, "digits/resnet8_mate", "--methods", "mate", "--output", tmp_path / "c", *given)
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)
    assert not calls


@pytest.mark.parametrize("seeds", ["a,b", "", "1,", "1.5"])
def test_seeds_that_are_no_numbers_are_one_line(calls: list[dict[str, Any]], seeds: str) -> None:
    error = invoke(compare, "digits/resnet8_mate", "--methods", "mate", "--seeds", seeds).exception
    assert isinstance(error, UsageError)
    assert f"seeds {seeds!r}: should be comma-separated integers" in str(error)
    assert not calls
