"""Every option on every version: it is set, or the message names the version that has it. Never an AttributeError."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import pytest
from fake_tensorrt import ORIN, FakeTensorRT, opened
from tensorrt_names import VERSIONS

from edgemate.errors import BackendError
from edgemate.progress import SILENT
from edgemate.runtime.backends.tensorrt import compat
from edgemate.runtime.backends.tensorrt.compat import TensorRT, load_tensorrt
from edgemate.runtime.backends.tensorrt.options import BatchRange, BuildOptions

ONE = BatchRange(1, 1, 1)
ALL = set(VERSIONS)
RTX = "rtx1.7.1.116"
FULL = ALL - {RTX}
SINCE_8_6 = ALL - {"8.5.3.1"}
SINCE_10 = SINCE_8_6 - {"8.6.1"}

# Option → the versions that have it.
SUPPORT: list[tuple[dict[str, Any], set[str]]] = [
    ({}, ALL),
    ({"workspace_mib": 64}, ALL),
    ({"builder_optimization_level": 5}, SINCE_8_6),
    ({"profiling_verbosity": "none"}, ALL),
    ({"profiling_verbosity": "layer_names_only"}, ALL),
    ({"version_compatible": True}, SINCE_8_6),
    ({"hardware_compatibility_level": "ampere_plus"}, SINCE_8_6 - {RTX}),
    ({"hardware_compatibility_level": "same_compute_capability"}, {"10.13.2", "10.16.1", "11.4.0.106"}),
    ({"strip_weights": True}, SINCE_10),
    ({"dla_core": 1, "batch": ONE}, {"8.5.3.1", "8.6.1", "10.3.0"}),
    ({"dla_core": 0, "allow_gpu_fallback": True, "batch": ONE}, {"8.5.3.1", "8.6.1", "10.3.0"}),
    ({"tf32": False}, ALL),
    ({"sparsity": True}, ALL),
    ({"compute_capabilities": ("8.6", "12.0")}, {RTX}),
]


def configured(trt: TensorRT, options: BuildOptions, precision: str = "fp16") -> Any:
    builder = trt.create_builder(options)
    network = trt.create_network(builder, options)
    trt.module.OnnxParser(network, trt.logger).parse_from_file("graph.onnx")
    config = builder.create_builder_config()
    trt.apply(config, options, builder)
    trt.set_precision(config, network, precision, options)
    trt.progress_monitor(config, SILENT)
    return config


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("option", "versions"), SUPPORT, ids=lambda value: " ".join(sorted(value)))
def test_an_option_is_set_or_refused_with_the_version_that_has_it(
    version: str, option: dict[str, Any], versions: set[str]
) -> None:
    trt = opened(version)
    if version in versions:
        configured(trt, BuildOptions(**option))
        return
    with pytest.raises(BackendError, match=r"^[a-z_]+.*: needs TensorRT.*; this is TensorRT") as caught:
        configured(trt, BuildOptions(**option))
    assert f"this is {trt.name}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_option_is_in_the_table() -> None:
    apart = {"timing_cache"}  # which is no business of the version's
    tried = {name for option, _ in SUPPORT for name in option}
    assert tried == {field.name for field in dataclasses.fields(BuildOptions)} - apart


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int8+fp16"])
def test_precision_comes_from_the_graph_or_from_flags(version: str, precision: str) -> None:
    config = configured(opened(version), BuildOptions(), precision)
    flags = {"FP16", "INT8"} & config._flags
    wanted = {part.upper() for part in precision.split("+")} - {"FP32"}
    assert flags == (wanted if version in ("8.5.3.1", "8.6.1") else set())


@pytest.mark.parametrize("version", VERSIONS)
def test_a_network_is_strongly_typed_where_that_exists(version: str) -> None:
    trt = opened(version)
    network = trt.create_network(trt.create_builder(BuildOptions()), BuildOptions())
    assert network._flags == ({"STRONGLY_TYPED"} if version in SINCE_10 else {"EXPLICIT_BATCH"})


def test_on_a_dla_flags_say_the_precision_where_there_are_flags() -> None:
    options = BuildOptions(dla_core=0, batch=ONE)
    trt = opened("10.3.0")
    assert trt.create_network(trt.create_builder(options), options)._flags == {"EXPLICIT_BATCH"}
    assert "FP16" in configured(trt, options, "fp16")._flags
    later = opened("11.4.0.106")
    later.version = (11, 4, 1)  # where DLA came back, without flags
    assert later.create_network(later.create_builder(options), options)._flags == {"STRONGLY_TYPED"}
    assert configured(later, options, "fp16").DLA_core == 0


def test_flags_do_not_take_down_to_fp16_what_the_graph_holds_in_fp32() -> None:
    trt = opened("8.6.1")
    trt.module.layers = [
        ("CAST", "FLOAT", "HALF"),
        ("CONVOLUTION", "HALF", "HALF"),
        ("CAST", "HALF", "FLOAT"),
        ("SOFTMAX", "FLOAT", "FLOAT"),
        ("QUANTIZE", "FLOAT", "INT8"),
        ("DEQUANTIZE", "INT8", "FLOAT"),
        ("CONVOLUTION", "FLOAT", "FLOAT"),
        ("SHUFFLE", "FLOAT", "FLOAT"),
    ]
    network = trt.create_network(trt.create_builder(BuildOptions()), BuildOptions())
    trt.module.OnnxParser(network, trt.logger).parse_from_file("graph.onnx")
    config = trt.module.IBuilderConfig()
    trt.set_precision(config, network, "int8+fp16", BuildOptions())
    assert {"FP16", "INT8", "PREFER_PRECISION_CONSTRAINTS"} <= config._flags
    held = [layer.type.name for layer in network._layers if "precision" in vars(layer)]
    assert held == ["SOFTMAX", "SHUFFLE"]  # the convolution reads int8


@pytest.mark.parametrize("version", VERSIONS)
def test_contexts_share_the_profile_where_that_is_to_be_asked_for(version: str) -> None:
    trt = opened(version)
    asked = {"PROFILE_SHARING_0806"} if version == "8.6.1" else set()
    assert configured(trt, BuildOptions())._previews == asked
    assert trt.shares_profiles == (version != "8.5.3.1")


def test_options_reach_the_config() -> None:
    options = BuildOptions(
        workspace_mib=64,
        builder_optimization_level=5,
        version_compatible=True,
        hardware_compatibility_level="ampere_plus",
        strip_weights=True,
        sparsity=True,
        tf32=False,
    )
    config = configured(opened("10.3.0"), options)
    assert config._limits == {"WORKSPACE": 64 << 20}
    assert config.builder_optimization_level == 5
    assert config._flags == {"VERSION_COMPATIBLE", "STRIP_PLAN", "SPARSE_WEIGHTS"}
    assert config.hardware_compatibility_level.name == "AMPERE_PLUS"
    assert config.profiling_verbosity.name == "DETAILED"


@pytest.mark.parametrize("version", VERSIONS)
def test_no_kernels_of_other_libraries_are_asked_for(version: str) -> None:
    trt = opened(version)
    sources = configured(trt, BuildOptions())._sources
    used = {source.name for source in trt.module.TacticSource if sources >> int(source) & 1}
    assert used == {"EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"}


def test_a_dla_core_that_is_not_there_is_refused() -> None:
    trt = opened("10.3.0")
    config = configured(trt, BuildOptions(dla_core=1, batch=ONE, allow_gpu_fallback=True))
    assert (config.default_device_type.name, config.DLA_core) == ("DLA", 1)
    assert "GPU_FALLBACK" in config._flags
    for cores, said in ((2, "has 2 DLA cores"), (0, "has no DLA cores")):
        trt.module.dla_cores = cores
        with pytest.raises(BackendError, match=f"use_dla_core 2: this device {said}"):
            configured(trt, BuildOptions(dla_core=2, batch=ONE))


@pytest.mark.parametrize(("version", "cores"), [("10.3.0", 2), ("10.13.2", None), (RTX, None)])
def test_cores_are_counted_where_the_version_uses_them(version: str, cores: int | None) -> None:
    assert opened(version).dla_cores() == cores


@pytest.mark.parametrize(
    ("precision", "said"),
    [
        ("fp32", "computes in fp16, and this bundle is fp32; export it in fp16"),
        ("int8", "int8 is written as Q/DQ, which no DLA takes; export it in fp16"),
        ("int8+fp16", r"int8\+fp16 is written as Q/DQ, which no DLA takes"),
    ],
)
def test_a_dla_computes_in_fp16_only(precision: str, said: str) -> None:
    with pytest.raises(BackendError, match=f"^use_dla_core: .*{said}"):
        configured(opened("10.3.0"), BuildOptions(dla_core=0, batch=ONE), precision)


def test_ahead_of_time_needs_no_gpu_and_names_what_can_be_built_for() -> None:
    trt = opened(RTX, device=None)
    config = configured(trt, BuildOptions(compute_capabilities=("8.6", "12.0")))
    assert config.num_compute_capabilities == 2
    assert config._capabilities == {0: "SM86", 1: "SM120"}
    with pytest.raises(
        BackendError, match=r"8\.7: TensorRT-RTX 1\.7\.1 builds for 7\.5, 8\.0, 8\.6, 8\.9, 12\.0, 12\.1"
    ):
        configured(trt, BuildOptions(compute_capabilities=("8.7",)))
    for option in ("strip_weights", "version_compatible"):
        with pytest.raises(BackendError, match="cannot do that ahead of time"):
            configured(trt, BuildOptions(compute_capabilities=("8.6",), **{option: True}))


@pytest.mark.parametrize("version", VERSIONS)
def test_contexts_work_in_memory_that_they_are_given(version: str) -> None:
    trt = opened(version)
    engine = trt.create_runtime().deserialize_cuda_engine(b'{"level": "NONE"}')
    context = trt.create_execution_context(engine, 512)
    assert trt.scratch_bytes(engine) == 4096
    if version in SINCE_10:
        assert (context._strategy, context._memory) == ("USER_MANAGED", (512, 4096))
    else:
        assert context.device_memory == 512
    assert trt.hardware_compatibility_level(engine) == "none"
    assert trt.engine_information(engine) == '{"Layers": []}'


def test_a_runtime_is_made_for_the_engine_it_is_to_open() -> None:
    runtime = opened("8.6.1").create_runtime(version_compatible=True, dla_core=1)
    assert runtime.engine_host_code_allowed
    assert runtime.DLA_core == 1
    with pytest.raises(BackendError, match=r"needs TensorRT ≥ 8\.6; this is TensorRT 8\.5\.3"):
        opened("8.5.3.1").create_runtime(version_compatible=True)


def test_weights_are_put_back_where_the_version_can() -> None:
    trt = opened("10.3.0")
    engine = trt.create_runtime().deserialize_cuda_engine(b'{"level": "NONE"}')
    assert trt.refit(engine, "graph.onnx")
    with pytest.raises(BackendError, match=r"needs TensorRT ≥ 10\.0"):
        opened("8.6.1").refit(engine, "graph.onnx")


@pytest.mark.parametrize("version", VERSIONS)
def test_without_a_gpu_nothing_is_made(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgemate.runtime.backends.tensorrt.device.find_gpus", lambda: ())
    trt = opened(version, device=None)
    trt.module.Builder = trt.module.Runtime = pytest.fail
    for make in (lambda: trt.create_builder(BuildOptions()), trt.create_runtime):
        with pytest.raises(BackendError, match="needs an NVIDIA GPU"):
            make()


def test_a_builder_that_cannot_start_is_one_line() -> None:
    trt = opened("8.6.1")

    def broken(logger: Any) -> None:
        logger.log(trt.module.Logger.WARNING, "CUDA initialization failure with error: 35")  # as 8.5 does
        raise TypeError("pybind11::init(): factory function returned nullptr")

    trt.module.Builder = broken
    with pytest.raises(BackendError, match=r"^TensorRT 8\.6\.1 cannot start its builder: CUDA initialization failure"):
        trt.create_builder(BuildOptions())


def test_names_and_tags() -> None:
    assert (opened("10.3.0").name, opened("10.3.0").tag) == ("TensorRT 10.3.0", "trt10.3.0")
    assert (opened(RTX).name, opened(RTX).tag) == ("TensorRT-RTX 1.7.1", "rtx1.7.1")
    assert [version for version in VERSIONS if opened(version).is_rtx] == [RTX]
    assert [version for version in VERSIONS if not opened(version).has_timing_cache] == [RTX]


def test_errors_are_told_once() -> None:
    trt = opened("10.3.0")
    for message in ("first", "second", "first"):
        trt.logger.log(trt.module.Logger.ERROR, message)
    assert trt.last_errors() == "first; second"
    assert trt.last_errors() == "it gives no reason"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeTensorRT | None]:
    """Flavour → what `import` finds; a GPU is there."""
    found: dict[str, FakeTensorRT | None] = {"tensorrt": None, "tensorrt_rtx": None}
    compat._load.cache_clear()
    monkeypatch.setattr(compat, "is_installed", lambda flavour: found[flavour] is not None)
    monkeypatch.setattr(compat, "require_gpu", lambda wanted_by: ORIN)
    monkeypatch.setattr(compat, "find_device", lambda: ORIN)
    monkeypatch.setattr(compat.importlib, "import_module", lambda name: found[name] or _absent(name))
    yield found
    compat._load.cache_clear()


def _absent(name: str) -> None:
    raise ModuleNotFoundError(f"No module named {name!r}")


def test_tensorrt_is_preferred_to_tensorrt_rtx(installed: dict[str, FakeTensorRT | None]) -> None:
    installed["tensorrt_rtx"] = FakeTensorRT(RTX)
    assert load_tensorrt().name == "TensorRT-RTX 1.7.1"
    installed["tensorrt"] = FakeTensorRT("10.3.0")
    assert load_tensorrt().name == "TensorRT 10.3.0"
    assert load_tensorrt("tensorrt_rtx").is_rtx
    assert load_tensorrt() is load_tensorrt("tensorrt")


def test_one_that_cannot_be_imported_comes_with_what_brings_it(installed: dict[str, FakeTensorRT | None]) -> None:
    with pytest.raises(BackendError, match=r"TensorRT cannot be imported.*--system-site-packages"):
        load_tensorrt()
    with pytest.raises(BackendError, match=r"TensorRT-RTX cannot be imported.*pip install tensorrt-rtx-cu13"):
        load_tensorrt("tensorrt_rtx")


def test_a_module_marked_as_absent_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert not compat.is_installed("tensorrt")
