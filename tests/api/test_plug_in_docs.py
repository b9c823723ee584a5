"""The files of docs/plug-ins.md, in one folder, train a network, and its policy stops images."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import edgemate
from edgemate import plug_ins
from edgemate.bundle import Bundle
from edgemate.config import Tune
from edgemate.config.tuning import option_ranges
from edgemate.errors import EdgemateError
from edgemate.registry import METHODS
from edgemate.runs import Run

PAGE = Path(__file__).parents[2] / "docs" / "plug-ins.md"
BLOCK = re.compile(r"^```(?:python|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_files_work_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    programs = []
    for block in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        named = re.match(r"# (\S+\.(?:py|yaml))\n", block)
        if named:
            (folder / named[1]).write_text(block)
        else:
            programs.append(block)
    monkeypatch.chdir(elsewhere)
    trained = edgemate.train(folder / "own.yaml", "runs/own")
    assert len(trained.metrics["accuracy"]["test"]["exits"]) == 3
    recipe = Run(Path("runs/own")).read_recipe()
    assert recipe.optimization.optimizer_options == {"alpha": 0.99}
    assert recipe.distillation.options == {"growth": 2.0}
    assert option_ranges(METHODS, "own_method:LaterCountsMore") == {"growth": Tune(1.0, 3.0, log=True)}

    for name in [name for name in sys.modules if name.startswith("own_")]:  # as in another process
        del sys.modules[name]
    monkeypatch.setattr(plug_ins, "_named", set())
    monkeypatch.setattr(plug_ins, "_beside", [])
    monkeypatch.setattr(plug_ins, "_searched", [])
    sys.path[:] = [entry for entry in sys.path if entry != str(folder)]
    with pytest.raises(EdgemateError, match="allow_plugins"):
        edgemate.calibrate("runs/own")
    assert edgemate.calibrate("runs/own", allow_plugins=True).path == Path("runs/own/policies.json")
    edgemate.export("runs/own", "bundles/own", layouts=["segments"], allow_plugins=True)

    (program,) = programs
    names: dict[str, object] = {}
    exec(compile(program, PAGE.name, "exec"), names)
    exits = [answer.exit for answer in names["answers"]]  # type: ignore[attr-defined]
    assert set(exits) <= {1, 2, 3}
    assert len(exits) == len(Bundle.open("bundles/own").golden().images)
