from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgemate.config import parse_recipe
from edgemate.core.input_spec import InputSpec
from edgemate.errors import RunError
from edgemate.runs import Run, RunMetadata

INPUT = InputSpec(channels=1, height=8, width=8, mean=(0.5,), std=(0.2,))
METADATA = RunMetadata("digits", INPUT.to_json(), ("0", "1"), ("stage1", "stage2"), {"test": 5})
METRICS = {"accuracy": {"test": {"images": 5, "exits": [0.5, 0.75], "ensemble": 0.5}}, "method": {"weight": 1.5}}


def finished_run(path: Path) -> Run:
    run = Run.create(path)
    recipe = parse_recipe(
        {"data": {"name": "digits"}, "model": {"backbone": "resnet8"}, "optimization": {"epochs": 1}}, "test"
    )
    run.write_recipe(recipe)
    run.write_metadata(METADATA)
    for split in ("calibration", "test"):
        run.write_logits(split, np.zeros((5, 2, 2), np.float32), np.arange(5) % 2)
    run.write_golden(np.ones((2, 1, 8, 8), np.float32), np.array([0, 1]))
    run.model_path.write_bytes(b"weights")
    run.write_metrics(METRICS)
    return run


def test_written_values_are_read_back(tmp_path: Path) -> None:
    written = finished_run(tmp_path / "run")
    run = Run.open(tmp_path / "run")
    assert run == written
    assert run.name == "run"
    assert run.read_recipe().data.name == "digits"
    assert run.read_metadata() == METADATA
    assert run.read_metrics() == METRICS
    logits, labels = run.read_logits("test")
    assert logits.shape == (5, 2, 2)
    assert labels.tolist() == [0, 1, 0, 1, 0]
    assert run.read_golden().images.shape == (2, 1, 8, 8)


def test_the_stored_recipe_holds_every_default(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    text = run.recipe_path.read_text()
    assert text.index("data:") < text.index("model:") < text.index("optimization:") < text.index("training:")
    assert "width: 16" in text
    run.write_recipe(run.read_recipe())
    assert run.recipe_path.read_text() == text


@pytest.mark.parametrize(
    "missing",
    ["model.safetensors", "metadata.json", "golden.npz", "metrics.json", "logits/test.npz", "logits/calibration.npz"],
)
def test_a_run_is_finished_when_everything_is_there(tmp_path: Path, missing: str) -> None:
    run = finished_run(tmp_path / "run")
    assert run.finished
    (run.path / missing).unlink()
    assert not run.finished
    assert Run.open(run.path, finished=False) == run
    with pytest.raises(RunError, match=f"training has not finished .{missing} is missing.; resume it"):
        Run.open(run.path)


def test_a_folder_that_is_not_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere: there is no such run folder"):
        Run.open(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"not a run: it has no recipe\.yaml"):
        Run.open(tmp_path)


def test_a_run_of_another_format_is_refused_with_a_remedy(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    assert json.loads(run.metadata_path.read_text())["format_version"] == 2
    older = r"run: was written by an older edgemate \(format 1\); this one reads format 2: train the run again$"

    run.metadata_path.rename(run.path / "facts.json")  # as format 1 has it
    for finished in (True, False):
        with pytest.raises(RunError, match=older):
            Run.open(run.path, finished=finished)
    assert Run.open(run.path, finished=False, any_format=True) == run

    run.metadata_path.write_text("{}")
    with pytest.raises(RunError, match=older):
        Run.open(run.path)

    run.metadata_path.write_text('{"format_version": 3}')
    with pytest.raises(RunError, match=r"was written by a newer edgemate \(format 3\); .*: upgrade edgemate$"):
        run.read_metadata()


def test_a_run_is_not_made_over_another(tmp_path: Path) -> None:
    finished_run(tmp_path / "run")
    with pytest.raises(RunError, match="is not empty; resume the run in it"):
        Run.create(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    assert Run.create(tmp_path / "empty").path.is_dir()


def test_damaged_files_are_named(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    run.metadata_path.write_text("{")
    with pytest.raises(RunError, match=r"metadata\.json: cannot be read as JSON"):
        run.read_metadata()
    run.metadata_path.write_text("[]")
    with pytest.raises(RunError, match="should be a JSON object, not list"):
        run.read_metadata()
    run.metadata_path.write_text('{"format_version": 2}')
    with pytest.raises(RunError, match="the key 'dataset' is missing"):
        run.read_metadata()
    run.golden_path.write_bytes(b"PK")
    with pytest.raises(RunError, match=r"golden\.npz: cannot be read as arrays"):
        run.read_golden()
    np.savez(run.logits_path("test"), labels=np.zeros(1))
    with pytest.raises(RunError, match=r"test\.npz: has no array 'logits'"):
        run.read_logits("test")
    np.savez(run.logits_path("test"), logits=np.array([{}], dtype=object), labels=np.zeros(1))
    with pytest.raises(RunError, match="cannot be read as arrays"):
        run.read_logits("test")
