from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from edgemate.runs import environment_metadata


def test_versions_machine_and_command_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    home = str(Path.home())
    monkeypatch.setattr(sys, "argv", ["/opt/somewhere/edgemate", "train", f"{home}/recipes/a.yaml", "--resume"])
    metadata = environment_metadata()
    assert metadata["command"][:2] == ["edgemate", "train"]
    assert metadata["command"][-1] == "--resume"
    if home != "/":
        assert home not in json.dumps(metadata)
    assert metadata["cores"] >= 1
    assert metadata["processor"]
    assert metadata["edgemate"]
    assert metadata["torch"]


def test_the_command_has_no_folders_that_only_this_machine_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home, data, here = tmp_path / "home", tmp_path / "home/data", tmp_path / "home/project"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setattr(Path, "home", lambda: home)
    monkeypatch.setenv("EDGEMATE_DATA", f"{data}/")
    given = [
        f"{data}/imagenette/val",
        f"data.options.path={here}/mine",
        f"model.weights=file:{home}/w.pt",
        f"[{data}]",
        f"{home}less",
        "a/b",
    ]
    monkeypatch.setattr(sys, "argv", ["edgemate", *given])
    assert environment_metadata()["command"][1:] == [
        "$EDGEMATE_DATA/imagenette/val",
        "data.options.path=./mine",
        "model.weights=file:~/w.pt",
        "[$EDGEMATE_DATA]",
        f"{home}less",
        "a/b",
    ]


def test_a_gpu_is_recorded_with_its_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 580.1.2\necho 580.1.2\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91200)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "a GPU")
    metadata = environment_metadata()
    assert (metadata["gpus"], metadata["driver"]) == (["a GPU"], "580.1.2")
    monkeypatch.setenv("PATH", "")
    assert environment_metadata()["driver"] is None


def test_torch_is_recorded_only_if_it_is_imported() -> None:
    program = (
        "import sys, edgemate.runs; metadata = edgemate.runs.environment_metadata();"
        "assert 'torch' not in sys.modules; assert 'torch_threads' not in metadata;"
        "import torch; assert edgemate.runs.environment_metadata()['torch_threads'] == torch.get_num_threads()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
