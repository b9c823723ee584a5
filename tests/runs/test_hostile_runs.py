"""Files of a run with other types than training writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgemate import api
from edgemate.config import parse_recipe
from edgemate.core.input_spec import InputSpec
from edgemate.errors import EdgemateError, RunError
from edgemate.runs import Run, RunMetadata

INPUT = InputSpec(channels=1, height=8, width=8, mean=(0.5,), std=(0.2,)).to_json()
FIGURES = {"images": 3, "exits": [0.5, 0.5], "ensemble": 0.5}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run.create(tmp_path / "run")
    tree = {"data": {"name": "digits"}, "model": {"backbone": "resnet8"}, "optimization": {"epochs": 1}}
    made.write_recipe(parse_recipe(tree, "test"))
    made.write_metadata(RunMetadata("digits", INPUT, ("a", "b"), ("stage1", "stage2"), {"test": 3}))
    made.write_metrics({"accuracy": {"test": FIGURES}, "train_seconds": 1.0})
    for split in ("calibration", "test"):
        made.write_logits(split, np.zeros((3, 2, 2), np.float32), np.array([0, 1, 1]))  # type: ignore[arg-type]
    made.write_golden(np.ones((2, 1, 8, 8), np.float32), np.array([0, 1]))
    made.model_path.write_bytes(b"")
    return made


@pytest.mark.parametrize(
    ("name", "changes", "key"),
    [
        ("metadata", {"classes": 3}, "classes"),
        ("metadata", {"classes": ["a", 3]}, "classes.1"),
        ("metadata", {"classes": []}, "classes"),
        ("metadata", {"cuts": None}, "cuts"),
        ("metadata", {"images": [1]}, "images"),
        ("metadata", {"images": {"test": "many"}}, "images.test"),
        ("metadata", {"input": {}}, "input.channels"),
        ("metadata", {"input": {**INPUT, "mean": 3}}, "input.mean"),
        ("metadata", {"input": {**INPUT, "resize": {"mode": "stretch", "size": 10**9}}}, "input.resize"),
        ("metadata", {"dataset": None}, "dataset"),
        ("metrics", {"accuracy": 3}, "accuracy"),
        ("metrics", {"accuracy": {"test": []}}, "accuracy.test"),
        ("metrics", {"accuracy": {"test": {**FIGURES, "exits": ["a"]}}}, "accuracy.test.exits.0"),
        ("metrics", {"accuracy": {"test": {**FIGURES, "ensemble": None}}}, "accuracy.test.ensemble"),
        ("metrics", {"accuracy": {"test": {"images": 3}}}, "accuracy.test.exits"),
        ("metrics", {"train_seconds": "long"}, "train_seconds"),
        ("plug_ins", {"folders": 3}, "folders"),
        ("plug_ins", {"folders": [{}]}, "folders.0.module"),
        ("plug_ins", {"folders": [{"module": "m", "folder": "a\0b", "from_run": "."}]}, "folders.0.folder"),
        ("plug_ins", {"folders": [{"module": 1, "folder": "a", "from_run": "."}]}, "folders.0.module"),
    ],
)
def test_the_key_is_named(run: Run, name: str, changes: dict[str, Any], key: str) -> None:
    path = run.path / f"{name}.json"
    path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | changes))
    with pytest.raises(RunError, match=key) as caught:
        api.inspect(run.path, allow_plugins=name == "plug_ins")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["metadata", "metrics", "plug_ins", "numerics"])
@pytest.mark.parametrize("text", ["3", "[]", "null", "{", '{"format_version": 1e999}', "[" * 100_000, '{"a": NaN}'])
def test_a_file_that_is_no_object(run: Run, name: str, text: str) -> None:
    (run.path / f"{name}.json").write_text(text)
    with pytest.raises(RunError, match=rf"{name}\.json: "):  # noqa: PT012
        api.inspect(run.path, allow_plugins=name == "plug_ins")
        run.read_numerics()


def test_a_home_folder_of_nobody(run: Run) -> None:
    entry = {"module": "m", "folder": "~nobody-of-this-name/x", "from_run": ".."}
    run.plug_ins_path.write_text(json.dumps({"folders": [entry]}))
    assert run.read_recipe().data.name == "digits"


LOGITS, LABELS = np.zeros((3, 2, 2), np.float32), np.array([0, 1, 1])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"logits": LOGITS}, "has no array 'labels'"),
        ({"logits": LOGITS, "labels": np.array(1)}, r"labels must be int64 \(3,\), not int64 \(\)"),
        ({"logits": LOGITS, "labels": LABELS.astype(float)}, "not float64"),
        ({"logits": LOGITS, "labels": LABELS + 1}, "labels are from 1 to 2; the logits are of 2 classes"),
        ({"logits": LOGITS, "labels": LABELS - 1}, "labels are from -1 to 0"),
        ({"logits": LOGITS[0], "labels": LABELS[:2]}, r"logits must be float32 \(images, exits, classes\)"),
        ({"logits": LOGITS.astype(int), "labels": LABELS}, "not int64"),
        ({"logits": LOGITS[:0], "labels": LABELS[:0]}, "logits must be float32"),
        ({"logits": np.array(1.0, np.float32), "labels": LABELS}, "logits must be float32"),
        ({"logits": np.array([None]), "labels": LABELS}, "cannot be read as arrays: logits: is of dtype object"),
    ],
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_logits_that_are_none(run: Run, save: Any, arrays: dict[str, Any], message: str) -> None:
    save(run.logits_path("test"), **arrays)
    with pytest.raises(RunError, match=message):
        run.read_logits("test")


def test_a_mapped_file_that_is_cut_off(run: Run) -> None:
    np.savez(run.logits_path("test"), labels=LABELS, logits=np.zeros((3, 200, 200), np.float32))
    content = run.logits_path("test").read_bytes()
    for size in range(0, len(content), 9973):
        run.logits_path("test").write_bytes(content[:size])
        with pytest.raises(EdgemateError):
            run.read_logits("test")
