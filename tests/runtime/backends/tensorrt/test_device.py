from __future__ import annotations

import enum
import sys
from types import ModuleType

import pytest

from edgemate.errors import BackendError
from edgemate.runtime.backends.tensorrt import device
from edgemate.runtime.backends.tensorrt.device import Device, find_device, require_gpu
from edgemate.runtime.gpus import Gpu

Status = enum.IntEnum("Status", {"cudaSuccess": 0, "cudaErrorInsufficientDriver": 35})


@pytest.fixture
def orin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a GPU and no cuda-python."""
    monkeypatch.setattr(device, "find_gpus", lambda: (Gpu("Orin (nvgpu)", "8.7"), Gpu("other", "8.0")))
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)


def answer_of_cuda(monkeypatch: pytest.MonkeyPatch, status: Status, count: int) -> None:
    bindings, runtime = ModuleType("cuda.bindings"), ModuleType("cuda.bindings.runtime")
    bindings.runtime = runtime
    runtime.cudaError_t = Status
    runtime.cudaGetDeviceCount = lambda: (status, count)
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", runtime)


def test_the_first_gpu_is_the_device(orin: None) -> None:
    found = require_gpu("TensorRT")
    assert (found.name, found.compute_capability) == ("Orin (nvgpu)", "8.7")
    assert found.tag.endswith("orin-nvgpu_sm87")
    assert found == find_device()


def test_a_tag_is_fit_for_a_folder() -> None:
    assert Device("NVIDIA H200", "9.0", "", "").tag == "nvidia-h200_sm90"
    assert Device("../ÿ", "12.0", "", "").tag == "gpu_sm120"


def test_without_a_gpu_it_says_what_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "find_gpus", lambda: ())
    assert find_device() is None
    with pytest.raises(BackendError, match="TensorRT needs an NVIDIA GPU and its driver, and none is found"):
        require_gpu("TensorRT")


def test_a_driver_older_than_the_runtime_counts_as_none(orin: None, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_of_cuda(monkeypatch, Status.cudaErrorInsufficientDriver, 0)
    with pytest.raises(BackendError, match="says cudaErrorInsufficientDriver; install a newer NVIDIA driver"):
        require_gpu("TensorRT")
    answer_of_cuda(monkeypatch, Status.cudaSuccess, 1)
    require_gpu("TensorRT")
    answer_of_cuda(monkeypatch, Status.cudaSuccess, 0)
    with pytest.raises(BackendError, match="finds no device"):
        require_gpu("TensorRT")
