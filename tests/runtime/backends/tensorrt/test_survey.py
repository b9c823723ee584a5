from __future__ import annotations

import pytest
from fake_tensorrt import ORIN, opened

from edgemate.errors import BackendError
from edgemate.runtime.backends.tensorrt import survey as module
from edgemate.runtime.backends.tensorrt.survey import Installed, survey

NAMES = {"tensorrt": "TensorRT 11.4.0", "tensorrt_rtx": "TensorRT-RTX 1.7.1"}


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are installed, with metadata."""
    monkeypatch.setattr(module, "is_installed", lambda flavour: True)
    monkeypatch.setattr(module.metadata, "packages_distributions", lambda: {name: [name] for name in NAMES})
    monkeypatch.setattr(module.metadata, "version", lambda name: NAMES[name].split()[1])


def test_without_a_gpu_nothing_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_gpu(wanted_by: str) -> None:
        raise BackendError(f"{wanted_by} needs an NVIDIA GPU")

    monkeypatch.setattr(module, "require_gpu", no_gpu)
    monkeypatch.setattr(module, "find_device", lambda: None)
    monkeypatch.setattr(module, "load_tensorrt", pytest.fail)
    assert survey() == (
        Installed("TensorRT 11.4.0", "TensorRT 11.4.0 needs an NVIDIA GPU"),
        Installed("TensorRT-RTX 1.7.1", ahead_of_time=True),
    )


def test_with_a_gpu_the_library_says_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(flavour: str) -> object:
        if flavour == "tensorrt_rtx":
            raise BackendError("TensorRT-RTX cannot be imported (a library is missing)")
        return opened("10.3.0")

    monkeypatch.setattr(module, "require_gpu", lambda wanted_by: ORIN)
    monkeypatch.setattr(module, "load_tensorrt", load)
    assert survey() == (
        Installed("TensorRT 10.3.0", dla_cores=2),
        Installed("TensorRT-RTX 1.7.1", "TensorRT-RTX cannot be imported (a library is missing)"),
    )


def test_a_gpu_without_a_cuda_runtime_is_a_problem_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_runtime(wanted_by: str) -> None:
        raise BackendError(f"{wanted_by} cannot use Orin: libcudart is not found")

    monkeypatch.setattr(module, "require_gpu", no_runtime)
    monkeypatch.setattr(module, "find_device", lambda: ORIN)
    monkeypatch.setattr(module, "load_tensorrt", pytest.fail)
    assert survey() == tuple(
        Installed(name, f"{name} cannot use Orin: libcudart is not found") for name in NAMES.values()
    )


def test_what_is_not_installed_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_installed", lambda flavour: False)
    assert survey() == ()
