from __future__ import annotations

import inspect
import json
from functools import partial
from pathlib import Path
from typing import Any

import fake_engine
import pytest
from bundles import write_small_bundle
from commands import invoke
from fake_cuda import FakeCuda
from fake_tensorrt import ORIN, opened
from golden_backend import GoldenBackend

from edgemate import files
from edgemate.bundle import Bundle
from edgemate.cli.build import build
from edgemate.errors import BackendError, BundleError, UsageError
from edgemate.registry import BACKENDS
from edgemate.runtime.backends.tensorrt import compat
from edgemate.runtime.backends.tensorrt.compat import TensorRT

# What trtexec and Polygraphy call them.
KNOWN_NAMES = {
    "--workspace",
    "--builder-optimization-level",
    "--timing-cache",
    "--profiling-verbosity",
    "--version-compatible",
    "--hardware-compatibility-level",
    "--strip-weights",
    "--use-dla-core",
    "--allow-gpu-fallback",
    "--no-tf32",
    "--sparsity",
}


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TensorRT:
    """TensorRT 10.3 on an Orin, whose engines answer as they should."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    trt = opened("10.3.0")
    layers = [{"Name": "conv", "LayerType": "Conv", "Inputs": [{"Format/Datatype": "Half"}]}]
    trt.module.information = json.dumps({"Layers": layers})
    monkeypatch.setattr(compat, "load_tensorrt", lambda flavour=None: trt)
    monkeypatch.setattr(BACKENDS, "get", lambda name: GoldenBackend)
    return trt


def test_whom_the_user_trusts_is_known_where_engines_are_kept(
    own_bundle: Path, trt: TensorRT, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted: list[bool] = []

    def built(bundle: Bundle, *given: object, **options: object) -> None:
        trusted.append(bundle.trust.engines)
        raise BackendError("enough")

    monkeypatch.setattr("edgemate.runtime.backends.tensorrt.proving.build_proved_engines", built)
    for options in ((), ("--trust-engines",)):
        invoke(build, own_bundle, *options)
    assert trusted == [False, True]


def test_engines_are_built_proved_and_timed(own_bundle: Path, trt: TensorRT) -> None:
    result = invoke(build, own_bundle, "--layouts", "segments,prefixes")
    assert result.exit_code == 0, result.output
    for said in (
        "Orin, compute capability 8.7, TensorRT 10.3.0",
        "segment_1.engine",
        "prefix_3.engine",
        "fp16 1",
        "segments against the network on 24 golden samples",
        "prefixes against the network on 24 golden samples",
        "100.0 %",
        f"next: edgemate classify {own_bundle} IMAGE --backend tensorrt",
    ):
        assert said in result.stdout
    assert (own_bundle / f"engines/{ORIN.tag}_trt10.3.0/segment_3.engine.json").is_file()


def test_every_option_reaches_the_engine(own_bundle: Path, trt: TensorRT) -> None:
    valued = {
        "--batch": "2:4:16",
        "--workspace": 64,
        "--builder-optimization-level": 2,
        "--profiling-verbosity": "layer_names_only",
        "--hardware-compatibility-level": "ampere_plus",
        "--timing-cache": own_bundle.parent / "timings",
    }
    flags = ("--version-compatible", "--strip-weights", "--no-tf32", "--sparsity")
    result = invoke(build, own_bundle, *(part for option in valued.items() for part in option), *flags)
    assert result.exit_code == 0, result.output
    metadata = json.loads((own_bundle / f"engines/{ORIN.tag}_trt10.3.0/segment_1.engine.json").read_text())
    assert metadata["options"] == {
        "batch": "2:4:16",
        "workspace_mib": 64,
        "builder_optimization_level": 2,
        "profiling_verbosity": "layer_names_only",
        "version_compatible": True,
        "hardware_compatibility_level": "ampere_plus",
        "strip_weights": True,
        "dla_core": None,
        "allow_gpu_fallback": False,
        "tf32": False,
        "sparsity": True,
        "compute_capabilities": [],
    }
    assert (own_bundle.parent / f"timings/{ORIN.tag}_trt10.3.0.timing").is_file()


def test_options_have_the_names_that_users_know() -> None:
    names = {f"--{name.replace('_', '-')}" for name in inspect.signature(build).parameters}
    assert names >= KNOWN_NAMES


def test_the_batch_is_the_bundles_unless_another_is_asked_for(own_bundle: Path, trt: TensorRT) -> None:
    manifest = json.loads((own_bundle / "bundle.json").read_text())
    files.write_json(own_bundle / "bundle.json", manifest | {"engine_batch": [1, 2, 4]})
    path = own_bundle / f"engines/{ORIN.tag}_trt10.3.0/segment_1.engine.json"
    for arguments, batch in (((), "1:2:4"), (("--batch", "8"), "8:8:8")):
        result = invoke(build, own_bundle, *arguments)
        assert result.exit_code == 0, result.output
        assert json.loads(path.read_text())["options"]["batch"] == batch


def test_what_is_there_already_is_built_again_by_force(own_bundle: Path, trt: TensorRT) -> None:
    for arguments, builds in (((), 3), ((), 3), (("--force",), 6)):
        assert invoke(build, own_bundle, *arguments).exit_code == 0
        assert len(trt.module.configs) == builds


def test_engines_that_compute_something_else_are_removed(
    own_bundle: Path, trt: TensorRT, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BACKENDS, "get", lambda name: partial(GoldenBackend, error=9.0))
    result = invoke(build, own_bundle, "--layouts", "prefixes")
    assert isinstance(result.exception, BackendError)
    assert "prefixes, exit 2: the largest difference from the network is 9" in str(result.exception)
    assert str(result.exception).endswith("; the engines of these prefixes were removed")
    assert "prefixes against the network" in result.stdout
    assert list((own_bundle / "engines").rglob("*.engine*")) == []
    assert invoke(build, own_bundle, "--layouts", "prefixes", "--tolerance", "10").exit_code == 0


def test_what_left_the_dla_is_listed(own_bundle: Path, trt: TensorRT) -> None:
    trt.module.information = json.dumps({"Layers": [{"Name": "softmax", "LayerType": "SoftMax"}]})
    manifest = json.loads((own_bundle / "bundle.json").read_text())
    files.write_json(own_bundle / "bundle.json", manifest | {"precision": {"name": "fp16", "tolerance": 0.02}})
    result = invoke(build, own_bundle, "--batch", "1", "--use-dla-core", "0", "--allow-gpu-fallback")
    assert result.exit_code == 0, result.output
    assert "segment_1.engine: on the GPU, not on the DLA: softmax" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--batch", "8:1:1"), "batch 8:1:1: must rise"),
        (("--backend", "onnxruntime"), "backend 'onnxruntime': engines are built by tensorrt or tensorrt_rtx"),
        (("--tolerance", "0"), "tolerance 0: must be above 0"),
        (("--layouts", "graphs"), "layouts 'graphs'"),
        (("--profiling-verbosity", "loud"), "profiling_verbosity 'loud'"),
        (("--allow-gpu-fallback",), "allow_gpu_fallback: means something only with use_dla_core"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_built(
    own_bundle: Path, trt: TensorRT, arguments: tuple[Any, ...], said: str
) -> None:
    error = invoke(build, own_bundle, *arguments).exception
    assert isinstance(error, UsageError)
    assert said in str(error)
    assert trt.module.configs == []


def test_tensorrt_rtx_has_no_timings_to_keep(own_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trt = opened("rtx1.7.1.116")
    monkeypatch.setattr(compat, "load_tensorrt", lambda flavour=None: trt)
    error = invoke(build, own_bundle, "--timing-cache", tmp_path / "timings").exception
    assert isinstance(error, BackendError)
    assert str(error).startswith("timing_cache: TensorRT-RTX ")
    assert trt.module.configs == []
    assert not (own_bundle / "engines").exists()


def test_a_bundle_is_needed(tmp_path: Path, trt: TensorRT) -> None:
    assert isinstance(invoke(build, tmp_path).exception, BundleError)


def test_a_failed_build_is_one_line(own_bundle: Path, trt: TensorRT) -> None:
    trt.module.build_errors = ["Could not find any implementation for node /conv/Conv."]
    error = invoke(build, own_bundle).exception
    assert isinstance(error, BackendError)
    assert "cannot build it at layer /conv/Conv: Could not find" in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize("layout", ["segments", "prefixes", "conditional"])
def test_the_proof_runs_on_the_backend_that_will_classify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    cuda = FakeCuda()
    device = fake_engine.fake_tensorrt(cuda)
    fake_engine.install(monkeypatch, cuda, device)
    monkeypatch.setattr(compat, "load_tensorrt", lambda flavour=None: device)
    bundle = write_small_bundle(tmp_path / "bundle", conditional=True)
    fake_engine.write_engines(bundle, (layout,), device, "1:1:1")
    result = invoke(build, bundle.path, "--batch", "1", "--layouts", layout)
    assert result.exit_code == 0, result.output
    assert f"{layout} against the network on 24 golden samples" in result.stdout
    assert result.stdout.count("100.0 %") == 3
    assert not cuda.held()
