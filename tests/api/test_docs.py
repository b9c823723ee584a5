"""The code of docs/python.md runs, block by block, in one program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ready_graphs import export_each_network_once

import edgemate

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
VERBS = set(edgemate.__all__) - {"__version__"}


def blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def test_the_code_runs_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    export_each_network_once(monkeypatch)
    names: dict[str, object] = {}
    for number, block in enumerate(blocks(), start=1):
        # Fewer images, and a comparison's trainings in this process, so that it takes seconds; otherwise as it stands.
        code = block.replace('overrides=["', 'overrides=["data.train_limit=200", "')
        code = code.replace("seeds=[0],", 'seeds=[0], engine="in_process:InProcess",')
        exec(compile(code, f"{PAGE.name}, block {number}", "exec"), names)
    for written in ("runs/digits/profile.json", "comparisons/digits/comparison.md", "bundles/digits/bundle.json"):
        assert (tmp_path / written).is_file()


def test_every_verb_is_in_the_table_and_in_the_code() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `edgemate\.(\w+)\(", text, flags=re.MULTILINE)) == VERBS
    code = "".join(blocks())
    assert {verb for verb in VERBS if f"edgemate.{verb}(" not in code} == {"build"}  # which needs a GPU
