from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from commands import invoke
from recorded_boards import BOARDS

from edgemate.cli.doctor import EXTRAS, doctor
from edgemate.errors import BackendError
from edgemate.machine import package_version
from edgemate.registry import DATASETS as REGISTERED
from edgemate.runtime import gpus
from edgemate.runtime.backends.tensorrt import cuda_libraries, survey
from edgemate.runtime.backends.tensorrt.survey import Installed

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    tomllib = None  # type: ignore[assignment]


def test_it_says_what_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "FashionMNIST" / "raw").mkdir(parents=True)
    monkeypatch.setenv("EDGEMATE_DATA", str(tmp_path))
    result = invoke(doctor, "--json")
    assert result.exit_code == 0, result.output
    metadata = json.loads(result.stdout)
    assert metadata["packages"]["base"]["numpy"]
    assert metadata["packages"]["train"]["torch"] == package_version("torch")
    assert ("CPUExecutionProvider" in metadata["onnxruntime_providers"]) == (find_spec("onnxruntime") is not None)
    assert metadata["machine"]["cores"] >= 1
    assert metadata["data_root"] == str(tmp_path)
    digits = find_spec("sklearn") is not None
    there = {name for name, found in metadata["datasets"].items() if found}
    assert there == {"fashion_mnist"} | ({"digits"} if digits else set())
    # Every dataset but those that a recipe's path says the place of.
    assert {*metadata["datasets"], "arrays", "image_folder", "image_table"} == set(REGISTERED.names())


def test_what_is_missing_comes_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRAS, "ort", ("no-such-package",))
    monkeypatch.setitem(EXTRAS, "train", ("numpy",))
    result = invoke(doctor)
    assert result.exit_code == 0, result.output
    assert "no no-such-package" in result.stdout
    assert "pip install 'edgemate[ort]'" in result.stdout
    assert "pip install 'edgemate[train]'" not in result.stdout


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ((), ["TensorRT: not installed"]),
        (
            (Installed("TensorRT 10.3.0", dla_cores=2), Installed("TensorRT-RTX 1.7.1", ahead_of_time=True)),
            ["TensorRT 10.3.0: builds and runs engines; 2 DLA cores", "TensorRT-RTX 1.7.1: builds ahead of time here"],
        ),
    ],
)
def test_what_there_is_of_tensorrt(
    monkeypatch: pytest.MonkeyPatch, found: tuple[Installed, ...], said: list[str]
) -> None:
    monkeypatch.setattr(survey, "survey", lambda: found)
    result = invoke(doctor)
    assert result.exit_code == 0, result.output
    assert set(said) <= set(result.stdout.splitlines())


def test_an_orin_nano_says_what_it_is_and_that_it_has_no_dla(monkeypatch: pytest.MonkeyPatch) -> None:
    nano = BOARDS["orin-nano"].gpu
    for module in ("edgemate.runtime.gpus", "edgemate.runtime.backends.tensorrt.device"):
        monkeypatch.setattr(f"{module}.find_gpus", lambda: (nano,))
    monkeypatch.setattr("edgemate.runtime.backends.tensorrt.device.processor", lambda: "NVIDIA Orin Nano Developer Kit")
    monkeypatch.setattr(survey, "survey", lambda: (Installed("TensorRT 10.3.0", dla_cores=0),))
    shown = invoke(doctor).stdout.splitlines()
    assert "NVIDIA GPUs: Orin (compute capability 8.7, 8 multiprocessors, 7.4 GiB)" in shown
    assert "engines and timings are kept for: nvidia-orin-nano-developer-kit_orin_sm87_8sm_8gib" in shown
    assert "TensorRT 10.3.0: builds and runs engines; no DLA cores" in shown
    identity = json.loads(invoke(doctor, "--json").stdout)["identity"]
    assert (identity["board"], identity["multiprocessors"]) == ("NVIDIA Orin Nano Developer Kit", 8)


def test_a_cuda_runtime_is_named_with_its_place_and_a_missing_one_where_there_is_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing() -> None:
        raise BackendError("libcudart is not found")

    monkeypatch.setattr(survey, "survey", tuple)
    monkeypatch.setattr(cuda_libraries, "find_cudart", missing)
    monkeypatch.setattr(gpus, "find_gpus", lambda: (gpus.Gpu("Orin", "8.7"),))
    assert "CUDA runtime: cannot be used here: libcudart is not found" in invoke(doctor).stdout.splitlines()
    monkeypatch.setattr(gpus, "find_gpus", tuple)
    assert "CUDA runtime: not needed without a GPU" in invoke(doctor).stdout.splitlines()
    found = cuda_libraries.Cudart("/usr/local/cuda/lib64/libcudart.so.12", 12060, None)
    monkeypatch.setattr(cuda_libraries, "find_cudart", lambda: found)
    assert "CUDA runtime: 12.6 (/usr/local/cuda/lib64/libcudart.so.12)" in invoke(doctor).stdout.splitlines()
    assert json.loads(invoke(doctor, "--json").stdout)["cuda_runtime"]["version"] == "12.6"


def test_a_tensorrt_that_cannot_be_used_is_an_error_after_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "survey", lambda: (Installed("TensorRT 8.6.1", "TensorRT 8.6.1 needs a GPU"),))
    result = invoke(doctor)
    assert isinstance(result.exception, BackendError)
    assert str(result.exception) == "TensorRT 8.6.1 needs a GPU"
    assert "TensorRT 8.6.1: cannot be used here" in result.stdout
    assert "data root" in result.stdout


def test_neither_torch_nor_the_training_side_is_imported() -> None:
    program = (
        "import sys; from edgemate.cli.doctor import doctor; doctor(); own = ('runs', 'data', 'models', 'training');"
        "assert not {'torch', 'onnx', *(f'edgemate.{name}' for name in own)} & set(sys.modules), 'heavy imports'"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.skipif(tomllib is None, reason="tomllib came with Python 3.11")
def test_the_extras_are_those_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    declared = {"base": project["dependencies"], **project["optional-dependencies"]}
    for extra, packages in EXTRAS.items():
        names = {re.split(r"[\s<>=!~;\[]", requirement)[0].lower() for requirement in declared[extra]}
        assert set(packages) == names - {"edgemate"}
