"""benchmarks/gpu/prepare.py and measure.py, with ONNX Runtime in TensorRT's place."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scripts import load_script

from edgemate import files
from edgemate.errors import ExportError
from edgemate.exporting import ExportOptions
from edgemate.runs import Run

prepare, measure = load_script("gpu/prepare.py"), load_script("gpu/measure.py")


@pytest.fixture(scope="module")
def work(finished_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "PRECISIONS", ("fp32",))
        patch.setattr(sys, "argv", ["prepare.py", str(finished_run.path), str(folder), "--compared", "50"])
        prepare.main()
    return folder


def run(monkeypatch: pytest.MonkeyPatch, work: Path, output: Path, precisions: str) -> dict:
    words = ["measure.py", str(work), "--backend", "onnxruntime", "--precisions", precisions, "--repeats", "5"]
    monkeypatch.setattr(sys, "argv", [*words, "--output", str(output), "--timed", "80"])
    measure.main()
    return json.loads((output / "tensorrt_rehearsal.json").read_text())


def test_images_travel_as_bytes_and_the_first_are_those_that_are_compared(work: Path) -> None:
    images = files.read_arrays(work / "images.npz")
    reference = files.read_arrays(work / "reference_fp32.npz")["logits"]
    assert images["images"].dtype == np.uint8
    assert images["images"].shape == (449, 8, 8, 1)  # the digits' whole test split
    assert len(reference) == 50
    assert len(set(images["labels"][:50].tolist())) == 10
    right = (reference[:, -1].argmax(1) == images["labels"][:50]).mean()
    assert right > 0.8  # so they belong together


def test_a_precision_that_cannot_be_had_is_named_and_the_others_are_made(
    finished_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    export_run = prepare.export_run

    def refused(run: Run, output: Path, *, options: ExportOptions) -> object:
        if options.precision == "fp16":
            raise ExportError("exit 1: agrees too seldom")
        return export_run(run, output, options=options)

    monkeypatch.setattr(prepare, "PRECISIONS", ("fp16", "fp32"))
    monkeypatch.setattr(prepare, "export_run", refused)
    monkeypatch.setattr(sys, "argv", ["prepare.py", str(finished_run.path), str(tmp_path), "--compared", "50"])
    (tmp_path / "reference_fp16.npz").touch()  # of an earlier run, which must not pass for this one's
    with pytest.raises(SystemExit, match="failed: fp16"):
        prepare.main()
    assert "fp16: failed: exit 1: agrees too seldom" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"images.npz", "bundles", "reference_fp32.npz"}
    assert [path.name for path in (tmp_path / "bundles").iterdir()] == ["fp32"]


def test_early_exit_uses_times_measured_here_and_is_held_to_what_it_may_lose(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run(monkeypatch, work, tmp_path, "fp32")
    result = found["results"]["fp32"]
    assert found["images"] == result["operating_point"]["images"] == 80
    assert result["operating_point"]["goal"] == "at most 0.5 points less accuracy"
    costs = result["operating_point"]["ms_to_stop_at_exit"]
    assert costs == sorted(costs)
    assert set(result["operating_point"]["variants"]) == {"segments", "prefix", "conditional"}
    accuracy = {name: row["accuracy"] for name, row in result["operating_point"]["variants"].items()}
    lost = 100 * (accuracy["prefix"] - accuracy["segments"])
    assert result["operating_point"]["points_lost"] == pytest.approx(lost)
    assert accuracy["conditional"] == accuracy["segments"]
    [line] = [line for line in found["targets"] if "points lost" in line["what"]]
    assert line["held"] is (lost <= 0.5)
    assert all(row["top1_agreement"] == 1 for row in result["agreement"]["segments"])


def test_what_fails_is_named_and_what_was_measured_before_is_kept(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, work, tmp_path, "fp32")
    with pytest.raises(SystemExit, match=r"failed: int8; .*tensorrt_rehearsal\.json says why"):
        run(monkeypatch, work, tmp_path, "int8")
    results = json.loads((tmp_path / "tensorrt_rehearsal.json").read_text())["results"]
    assert "operating_point" in results["fp32"]
    assert "reference_int8.npz" in results["int8"]["failed"]


def test_the_results_are_written_after_each_part(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "_operating_point", cut_off)
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, work, tmp_path, "fp32")
    result = json.loads((tmp_path / "tensorrt_rehearsal.json").read_text())["results"]["fp32"]
    assert {"agreement", "latency_ms"} <= set(result)
