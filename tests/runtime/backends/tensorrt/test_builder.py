from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_tensorrt import ORIN, opened
from tensorrt_names import VERSIONS
from told import Told

from edgemate.bundle import Bundle, Manifest
from edgemate.errors import BackendError, BundleError
from edgemate.runtime.backends.tensorrt.builder import build_bundle_engines, build_engine, remove_engines
from edgemate.runtime.backends.tensorrt.compat import TensorRT
from edgemate.runtime.backends.tensorrt.engine_metadata import read_engine_metadata
from edgemate.runtime.backends.tensorrt.loading import find_engines
from edgemate.runtime.backends.tensorrt.options import BatchRange, BuildOptions

ORIN_10_3 = f"engines/{ORIN.tag}_trt10.3.0"
LAYERS = {"Layers": [{"Name": "conv", "LayerType": "Conv", "Inputs": [{"Format/Datatype": "Half"}], "Outputs": []}]}


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TensorRT:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return opened("10.3.0")


@pytest.fixture
def bundle(own_bundle: Path) -> Bundle:
    return Bundle.open(own_bundle)


def onnx(bundle: Bundle) -> Path:
    return bundle.file("onnx/segment_1.onnx")


def in_precision(bundle: Bundle, name: str) -> Bundle:
    manifest = bundle.manifest.model_dump(mode="json") | {"precision": {"name": name, "tolerance": 0.02}}
    return Bundle(bundle.path, Manifest.model_validate(manifest))


def listing(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_builds(version: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    trt = opened(version)
    engines = build_bundle_engines(bundle, trt, BuildOptions())
    assert [engine.path.name for engine in engines] == ["segment_1.engine", "segment_2.engine", "segment_3.engine"]
    assert find_engines(bundle, trt, "segments") == engines
    timings = list((tmp_path / "cache").rglob("*.timing"))
    assert [path.stem for path in timings] == ([f"{ORIN.tag}_{trt.tag}"] if trt.has_timing_cache else [])


def test_engines_and_their_metadata_lie_beside_one_another(bundle: Bundle, trt: TensorRT) -> None:
    trt.module.information = json.dumps(LAYERS)
    bundle = in_precision(bundle, "fp16")
    engines = build_bundle_engines(bundle, trt, BuildOptions(workspace_mib=64), layouts=("segments", "prefixes"))
    stems = [f"{kind}_{exit}" for kind in ("prefix", "segment") for exit in (1, 2, 3)]
    assert listing(bundle.path / "engines") == [
        f"{ORIN.tag}_trt10.3.0/{stem}.engine{suffix}" for stem in stems for suffix in ("", ".json")
    ]
    metadata = read_engine_metadata(engines[1].path)
    assert metadata == engines[1].metadata
    assert (metadata.library, metadata.version) == ("tensorrt", "10.3.0")
    assert (metadata.gpu, metadata.compute_capabilities, metadata.driver) == ("Orin", ("8.7",), "CUDA 12.6")
    assert (metadata.layout, metadata.exit, metadata.onnx, metadata.precision) == (
        "segments",
        2,
        "onnx/segment_2.onnx",
        "fp16",
    )
    assert metadata.onnx_sha256 == bundle.manifest.files["onnx/segment_2.onnx"].sha256
    assert metadata.layer_precisions == {"Conv": {"fp16": 1}}
    assert metadata.options["workspace_mib"] == 64
    assert metadata.build_seconds >= 0
    Bundle.open(bundle.path)  # which is as whole as before


def test_batch_sizes_become_an_optimization_profile(bundle: Bundle, trt: TensorRT) -> None:
    trt.module.inputs = {"fine": (-1, 4, 8, 8), "coarse": (-1, 6, 4, 4)}
    build_engine(trt, onnx(bundle), BuildOptions(batch=BatchRange(1, 2, 16)))
    [profile] = trt.module.configs[0]._profiles
    assert profile._shapes["fine"] == [(size, 4, 8, 8) for size in (1, 2, 16)]
    assert profile._shapes["coarse"] == [(size, 6, 4, 4) for size in (1, 2, 16)]


def test_a_graph_for_one_image_needs_no_profile(bundle: Bundle, trt: TensorRT) -> None:
    trt.module.inputs = {"image": (1, 3, 8, 8), "thresholds": (2,)}
    build_engine(trt, onnx(bundle), BuildOptions())
    assert trt.module.configs[0]._profiles == []


def test_other_dynamic_dimensions_are_refused(bundle: Bundle, trt: TensorRT) -> None:
    trt.module.inputs = {"image": (-1, 3, -1, 8)}
    with pytest.raises(BackendError, match="input image has another dynamic dimension than the batch"):
        build_engine(trt, onnx(bundle), BuildOptions())


def test_progress_is_told(bundle: Bundle, trt: TensorRT) -> None:
    told = Told()
    build_bundle_engines(bundle, trt, BuildOptions(), progress=told)
    assert told[:4] == [
        "onnx/segment_1.onnx: building",
        "onnx/segment_1.onnx: building: 0 of 2, Building",
        "onnx/segment_1.onnx: building: 1 of 2, Building",
        "onnx/segment_1.onnx: building: 2 of 2, Building",
    ]


def test_an_interrupt_during_the_build_stops_it(bundle: Bundle, trt: TensorRT) -> None:
    class Interrupted(Told):
        def advance(self, *given: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_bundle_engines(bundle, trt, BuildOptions(), progress=Interrupted())
    assert not (bundle.path / "engines").exists()


def test_a_graph_that_cannot_be_parsed_is_one_line_with_the_node(bundle: Bundle, trt: TensorRT) -> None:
    trt.module.parse_errors = ["no importer\n registered", "no importer\n registered"]
    with pytest.raises(BackendError) as caught:
        build_engine(trt, onnx(bundle), BuildOptions())
    assert str(caught.value) == (
        f"{onnx(bundle)}: TensorRT 10.3.0 cannot parse it: node 7 /head/NonZero (NonZero): no importer registered"
    )
    trt.module.parse_node = -1
    with pytest.raises(BackendError, match=r"10\.3\.0 cannot parse it: no importer registered$"):
        build_engine(trt, onnx(bundle), BuildOptions())
    older = opened("8.6.1")
    older.module.parse_errors = ["no importer"]
    with pytest.raises(BackendError, match=r"cannot parse it: node 7: no importer$"):
        build_engine(older, onnx(bundle), BuildOptions())


@pytest.mark.parametrize(
    ("said", "layer"),
    [
        ("Could not find any implementation for node /conv1/Conv + /relu1/Relu.", " at layer /conv1/Conv"),
        ("Could not find any implementation for node {ForeignNode[a...b]}.", " at layer {ForeignNode[a...b]}"),
        ("out of memory", ""),
    ],
)
def test_a_failed_build_has_the_last_errors_and_the_layer(bundle: Bundle, trt: TensorRT, said: str, layer: str) -> None:
    trt.module.build_errors = ["10: Internal Error:", said]
    with pytest.raises(BackendError) as caught:
        build_engine(trt, onnx(bundle), BuildOptions())
    assert str(caught.value) == (f"{onnx(bundle)}: TensorRT 10.3.0 cannot build it{layer}: 10: Internal Error:; {said}")


def test_a_failed_build_keeps_what_was_there_and_leaves_no_half_file(bundle: Bundle, trt: TensorRT) -> None:
    before = build_bundle_engines(bundle, trt, BuildOptions())
    kept = {path: path.read_bytes() for path in (bundle.path / ORIN_10_3).iterdir()}
    other = BuildOptions(batch=BatchRange(1, 1, 64))
    with pytest.raises(BackendError, match="segment_3"):
        build_bundle_engines(bundle, trt, other, progress=FailingAt(trt, "segment_3"))
    assert {path: path.read_bytes() for path in (bundle.path / ORIN_10_3).iterdir()} == kept
    assert find_engines(bundle, trt, "segments") == before
    waiting = bundle.path / f"engines/.{ORIN.tag}_trt10.3.0.part"
    stems = ["segment_1", "segment_2"]
    assert listing(waiting) == [f"{stem}.engine{suffix}" for stem in stems for suffix in ("", ".json")]

    told = Told()
    trt.module.build_errors = []
    build_bundle_engines(bundle, trt, other, progress=told)
    assert [step for step in told if step.endswith(": building")] == ["onnx/segment_3.onnx: building"]
    assert {engine.metadata.options["batch"] for engine in find_engines(bundle, trt, "segments")} == {"1:1:64"}
    assert not waiting.exists()


def test_what_is_built_already_is_built_again_only_for_a_reason(bundle: Bundle, trt: TensorRT) -> None:
    def built(**options: Any) -> int:
        before = len(trt.module.configs)
        build_bundle_engines(bundle, trt, options.pop("options", BuildOptions()), **options)
        return len(trt.module.configs) - before

    assert [built(), built(), built(rebuild=True)] == [3, 0, 3]
    assert built(options=BuildOptions(timing_cache=bundle.path.parent / "elsewhere")) == 0
    assert built(options=BuildOptions(tf32=False)) == 3
    (bundle.path / ORIN_10_3 / "segment_2.engine").write_bytes(b"")
    assert built(options=BuildOptions(tf32=False)) == 1


def test_an_option_that_was_silently_ignored_is_found(bundle: Bundle, trt: TensorRT) -> None:
    trt.module.ignores_hardware_compatibility = True
    with pytest.raises(BackendError, match=r"ampere_plus: TensorRT 10\.3\.0 ignored it, the engine it built has none"):
        build_bundle_engines(bundle, trt, BuildOptions(hardware_compatibility_level="ampere_plus"))
    assert listing(bundle.path / "engines") == []


def test_layers_that_left_the_dla_are_listed(bundle: Bundle, trt: TensorRT) -> None:
    trt.module.information = json.dumps({"Layers": [{"Name": "softmax", "LayerType": "SoftMax"}]})
    options = BuildOptions(batch=BatchRange(1, 1, 1), dla_core=0, allow_gpu_fallback=True)
    engines = build_bundle_engines(in_precision(bundle, "fp16"), trt, options)
    assert engines[0].metadata.gpu_layers == ("softmax",)


def test_ahead_of_time_engines_say_what_they_are_for(bundle: Bundle) -> None:
    trt = opened("rtx1.7.1.116", device=None)
    options = BuildOptions(compute_capabilities=("8.6", "8.9"))
    engines = build_bundle_engines(bundle, trt, options)
    assert engines[0].path == bundle.path / "engines/sm86-sm89_rtx1.7.1/segment_1.engine"
    metadata = read_engine_metadata(engines[0].path)
    assert (metadata.gpu, metadata.driver, metadata.layer_precisions) == (None, None, None)
    assert metadata.compute_capabilities == ("8.6", "8.9")
    assert build_bundle_engines(bundle, trt, options) == engines  # and none is built twice
    assert len(trt.module.configs) == 3


def test_a_home_that_cannot_be_written_to_does_not_stop_a_build(bundle: Bundle, trt: TensorRT, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    told = Told()
    build_engine(trt, onnx(bundle), BuildOptions(timing_cache=tmp_path / "file"), progress=told)
    assert any(step.startswith("timings are not kept: ") for step in told)


def test_a_bundle_that_cannot_be_written_to_is_one_line(bundle: Bundle, trt: TensorRT) -> None:
    (bundle.path / "engines").write_text("no folder")
    with pytest.raises(BackendError, match=r"trt10\.3\.0: engines cannot be written: "):
        build_bundle_engines(bundle, trt, BuildOptions())


def test_a_layout_that_the_bundle_lacks_is_refused(bundle: Bundle, trt: TensorRT) -> None:
    with pytest.raises(BundleError, match="has no conditional, only segments and prefixes"):
        build_bundle_engines(bundle, trt, BuildOptions(), layouts=("conditional",))


def test_removed_engines_are_gone(bundle: Bundle, trt: TensorRT) -> None:
    engines = build_bundle_engines(bundle, trt, BuildOptions())
    remove_engines(engines)
    remove_engines(engines)
    with pytest.raises(BackendError, match="has no engines of its segments for Orin and TensorRT"):
        find_engines(bundle, trt, "segments")
    assert ORIN.tag in str(engines[0].path)


class FailingAt(Told):
    """Lets the build of `stem` fail."""

    def __init__(self, trt: TensorRT, stem: str) -> None:
        super().__init__()
        self.trt, self.stem = trt, stem

    def step(self, text: str) -> None:
        if text == f"onnx/{self.stem}.onnx: building":
            self.trt.module.build_errors = [f"{self.stem} is too much"]
