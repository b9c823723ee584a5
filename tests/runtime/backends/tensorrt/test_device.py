from __future__ import annotations

import pytest

from edgemate.errors import BackendError
from edgemate.runtime.backends.tensorrt import device
from edgemate.runtime.backends.tensorrt.device import Device, find_device, require_gpu
from edgemate.runtime.gpus import Gpu


@pytest.fixture
def orin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a GPU and a CUDA runtime that works."""
    monkeypatch.setattr(device, "find_gpus", lambda: (Gpu("Orin (nvgpu)", "8.7"), Gpu("other", "8.0")))
    monkeypatch.setattr(device, "find_cudart", lambda: None)


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


def test_a_runtime_that_does_not_work_is_told_before_anything_is_built(
    orin: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise BackendError("libcudart.so.13: cudaGetDeviceCount says cudaErrorInsufficientDriver")

    monkeypatch.setattr(device, "find_cudart", refuse)
    with pytest.raises(BackendError, match=r"^TensorRT cannot use Orin \(nvgpu\): libcudart.so.13: .* says cudaError"):
        require_gpu("TensorRT")
