"""Every script runs to where it begins to measure, and those that no figure of a test covers run to their end."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from shutil import copytree

import pytest
from scripts import BENCHMARKS, load_script

from edgemate.config import Distillation
from edgemate.errors import TrainingError
from edgemate.runs import Run

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")


@pytest.mark.parametrize("name", sorted(path.name for path in BENCHMARKS.glob("*.py")))
def test_what_a_script_imports_is_there(name: str) -> None:
    if name == "live_video.py":
        pytest.importorskip("av")
    assert load_script(f"benchmarks/{name}").__doc__


def test_the_guarantee_is_measured_and_written(
    finished_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "risk.json"
    given = ["risk_guarantee.py", str(finished_run.path), "--splits", "2", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", given)
    load_script("benchmarks/risk_guarantee.py").main()
    found = json.loads(output.read_text())
    assert [row["risk"] for row in found["results"]] == [0.005, 0.01, 0.02]
    assert "the guarantee" in capsys.readouterr().out


@pytest.mark.parametrize("prefix", ["", "methods.0."])
def test_learned_weights_are_found_where_the_loss_has_a_common_scale_too(
    finished_run: Run, tmp_path: Path, prefix: str
) -> None:
    import torch
    from safetensors.torch import save_file

    run = Run(Path(copytree(finished_run.path, tmp_path / "run")))
    save_file({f"{prefix}scores": torch.tensor([[0.0] * 3] * 2 + [[0.0, 0.0, 50.0]])}, str(run.method_path))
    script = load_script("benchmarks/learned_ensemble.py")
    found = script.accuracies([run])
    assert found.keys() == {"none", "mean", "learned"}
    [none], [mean], [learned] = found.values()
    assert learned == [none[0], mean[1], none[2]]  # weights 1; a half each; nearly 1 for exit 3 alone
    rows = script.markdown({"mate": found}, "digits", "resnet8", 10).splitlines()
    assert len(rows) == 4 + 3
    assert f"{100 * none[0]:.2f}" in rows[4]


def test_ensembles_are_of_any_method(finished_run: Run, tmp_path: Path) -> None:
    script = load_script("benchmarks/learned_ensemble.py")
    run = Run(Path(copytree(finished_run.path, tmp_path / "run")))
    run.method_path.unlink(missing_ok=True)
    assert script.accuracies([run]).keys() == {"none", "mean"}


def test_ensembles_are_named_by_method_unless_that_is_ambiguous(finished_run: Run, tmp_path: Path) -> None:
    script = load_script("benchmarks/learned_ensemble.py")
    copies = [Run(Path(copytree(finished_run.path, tmp_path / f"one-seed{seed}"))) for seed in (0, 1)]
    copies.append(Run(Path(copytree(finished_run.path, tmp_path / "other-seed0"))))
    method = finished_run.read_recipe().distillation.method
    assert script._by_method(copies[:2]) == {method: copies[:2]}
    assert script._by_method(copies) == {"one": copies[:2], "other": copies[2:]}
    options = {"boost": 0.5, "temperature": 3.0, "moves_exits": False}  # the second is the default
    assert script._label(Distillation(method="mate", options=options)) == "mate:boost=0.5;moves_exits=false"


def test_trainings_that_fail_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = load_script("benchmarks/run_trainings.py")
    training = script.Training("first", tmp_path / "first.yaml", tmp_path / "first", tmp_path / "first.log")
    (tmp_path / "first.log").write_text("error: no such dataset\n")
    monkeypatch.setattr(script.Training, "start", lambda self, threads: Ended())
    with pytest.raises(TrainingError, match="first: its training failed: error: no such dataset"):
        script.run_trainings([training], jobs=1, finished=lambda *given: None)


class Ended:
    """A process that has failed."""

    stdin = None
    returncode = 2

    def poll(self) -> int:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        return self.returncode
