"""Engines that were not proved on this device are, when it first loads them."""

from __future__ import annotations

import gc
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small_network
from built_here import record_as_built
from bundles import write_small_bundle
from fake_cuda import FakeCuda
from fake_engine import DEVICE, fake_tensorrt, install, write_engines

from edgemate import files
from edgemate.bundle import Bundle
from edgemate.errors import BackendError
from edgemate.runtime import AnytimeClassifier
from edgemate.runtime.backends.tensorrt.backend import TensorRTBackend
from edgemate.runtime.backends.tensorrt.compat import TensorRT

LOADED = 6  # runs of loading alone: three segments for one image, and for the tuned batch
GOLDEN = 24


@pytest.fixture
def cuda() -> FakeCuda:
    return FakeCuda()


@pytest.fixture
def trt(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TensorRT:
    found = fake_tensorrt(cuda)
    install(monkeypatch, cuda, found)
    monkeypatch.setenv("EDGEMATE_TRUST", str(tmp_path / "trust"))
    return found


@pytest.fixture
def elsewhere(trt: TensorRT, tmp_path: Path) -> Path:
    """A bundle with engines that were built ahead of time for this GPU, on a machine without one."""
    return engines_of(trt, tmp_path / "bundle", gpu=None, board=None, multiprocessors=None, memory_gib=None)


def engines_of(trt: TensorRT, path: Path, **metadata: Any) -> Path:
    """A bundle with engines whose metadata say this."""
    write_engines(write_small_bundle(path), ["segments", "prefixes"], trt, "1:4:32")
    for engine in (path / "engines").rglob("*.engine"):
        beside = engine.with_name(engine.name + ".json")
        described = {**json.loads(beside.read_text()), **metadata}
        files.write_json(beside, described)
    record_as_built(path)
    return path


def runs(trt: TensorRT, path: Path, layout: str = "segments") -> int:
    """How often engines ran when they were loaded."""
    trt.module.ran.clear()
    TensorRTBackend(Bundle.open(path), layout=layout, threads=None).close()  # type: ignore[arg-type]
    return len(trt.module.ran)


def test_ahead_of_time_engines_are_proved_once(trt: TensorRT, elsewhere: Path) -> None:
    assert runs(trt, elsewhere) == LOADED + (1 + 2 + 3) * GOLDEN // 4
    assert runs(trt, elsewhere) == LOADED
    assert runs(trt, elsewhere, "prefixes") > 0, "another layout has other engines"
    assert runs(trt, elsewhere, "prefixes") == 0


def test_what_a_build_has_proved_here_is_not_proved_again(trt: TensorRT, tmp_path: Path) -> None:
    assert runs(trt, engines_of(trt, tmp_path / "bundle")) == LOADED


def test_wrong_engines_are_refused_at_every_load_and_hold_nothing(
    trt: TensorRT, cuda: FakeCuda, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = small_network.run

    def wrong(*arguments: Any, **named: Any) -> dict[str, Any]:
        found = right(*arguments, **named)
        return found if "logits_2" not in found else {**found, "logits_2": found["logits_2"] + 9}

    monkeypatch.setattr(small_network, "run", wrong)
    for _ in range(2):
        with pytest.raises(BackendError, match=r"segments, exit 2: .* network is 9 .* are wrong on Fake GPU") as caught:
            AnytimeClassifier.load(elsewhere, "tensorrt")
        assert "\n" not in str(caught.value)
    assert cuda.calls.count("cudaMalloc") == cuda.calls.count("cudaFree") > 0


def test_another_device_proves_them_again(trt: TensorRT, elsewhere: Path) -> None:
    runs(trt, elsewhere)
    trt.device = replace(DEVICE, board="Other board", memory_gib=8)
    assert runs(trt, elsewhere) > LOADED


def test_other_golden_samples_prove_them_again(trt: TensorRT, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(trt, elsewhere)
    manifest = json.loads((elsewhere / "bundle.json").read_text())
    manifest["files"]["golden.npz"]["sha256"] = "0" * 64
    (elsewhere / "bundle.json").write_text(json.dumps(manifest))
    trt.module.ran.clear()
    bundle = Bundle.open(elsewhere, verify=False)
    TensorRTBackend(bundle, layout="segments", threads=None).close()
    assert len(trt.module.ran) > LOADED


def test_engines_that_others_gpus_can_run_are_proved_on_those(trt: TensorRT, tmp_path: Path) -> None:
    path = engines_of(trt, tmp_path / "bundle", gpu="Other GPU")
    for beside in (path / "engines").rglob("*.json"):
        described = json.loads(beside.read_text())
        described["options"]["hardware_compatibility_level"] = "ampere_plus"
        files.write_json(beside, described)
    record_as_built(path)
    assert runs(trt, path) > LOADED
    assert runs(trt, path) == LOADED


def test_where_nothing_can_be_remembered_every_load_proves(trt: TensorRT, elsewhere: Path, tmp_path: Path) -> None:
    (tmp_path / "trust" / "proved").write_text("")  # a file where the folder should be
    assert runs(trt, elsewhere) == runs(trt, elsewhere) > LOADED


def test_a_backend_that_nobody_closes_gives_its_memory_back(trt: TensorRT, cuda: FakeCuda, tmp_path: Path) -> None:
    classifier = AnytimeClassifier.load(engines_of(trt, tmp_path / "bundle"), "tensorrt")
    classifier.classify(classifier.bundle.golden().images[:2])
    assert cuda.calls.count("cudaFree") == 0
    del classifier
    gc.collect()
    assert cuda.calls.count("cudaMalloc") == cuda.calls.count("cudaFree") > 0
    assert cuda.calls.count("cudaMallocHost") == cuda.calls.count("cudaFreeHost") > 0


def test_a_pass_under_way_keeps_its_backend(trt: TensorRT, cuda: FakeCuda, tmp_path: Path) -> None:
    bundle = Bundle.open(engines_of(trt, tmp_path / "bundle"))
    backend = TensorRTBackend(bundle, layout="segments", threads=None)
    flow = backend.begin(bundle.golden().images[:1])
    del backend
    gc.collect()
    assert flow.advance().shape == (1, len(bundle.manifest.classes))
    assert cuda.calls.count("cudaFree") == 0
    del flow
    gc.collect()
    assert cuda.calls.count("cudaFree") > 0
