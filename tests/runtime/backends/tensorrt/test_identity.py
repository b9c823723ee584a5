"""Nothing that was made on one of five recorded machines is taken on another."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from built_here import record_as_built
from bundles import write_small_bundle
from fake_tensorrt import opened
from kernel_tree import write_tree
from recorded_boards import BOARDS

from edgemate import files, latency_tables
from edgemate.bundle import Bundle
from edgemate.errors import BackendError
from edgemate.latency_tables import LatencyTable, StopTimes, matching_latency_table, write_latency_table
from edgemate.machine import memory_gib, nominal_gib, processor
from edgemate.runtime.backends.tensorrt import device as module
from edgemate.runtime.backends.tensorrt.builder import build_bundle_engines
from edgemate.runtime.backends.tensorrt.device import Device, find_device
from edgemate.runtime.backends.tensorrt.loading import engine_tag, find_engines
from edgemate.runtime.backends.tensorrt.options import BuildOptions

VERSION = "10.13.2"
PAIRS = [(one, other) for one in BOARDS for other in BOARDS if one != other]


@pytest.fixture(scope="module")
def devices(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Device]:
    """Board → the device that is found on it."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, board in BOARDS.items():
            root = write_tree(tmp_path_factory.mktemp(name), board.files)
            patch.setattr(module, "processor", lambda root=root: processor(root))
            patch.setattr(module, "find_gpus", lambda board=board: (board.gpu,))
            patch.setattr(module, "this_system", lambda board=board: board.system)
            here = find_device()
            assert here is not None
            found[name] = here
    return found


def test_five_machines_have_five_tags(devices: dict[str, Device]) -> None:
    assert {name: device.tag for name, device in devices.items()} == {
        "agx-orin": "nvidia-jetson-agx-orin-developer-kit_orin_sm87_16sm_64gib",
        "orin-nx": "nvidia-orin-nx-developer-kit_orin_sm87_8sm_16gib",
        "orin-nano": "nvidia-orin-nano-developer-kit_orin_sm87_8sm_8gib",
        "thor": "nvidia-jetson-agx-thor-developer-kit_nvidia-thor_sm110_20sm_128gib",
        "desktop": "13th-gen-intel-r-core-tm-i9-13900k_nvidia-geforce-rtx-4090_sm89_128sm_24gib",
    }


def test_where_the_device_tree_is_hidden_multiprocessors_and_memory_tell_orins_apart(
    devices: dict[str, Device],
) -> None:
    orins = [
        replace(devices[name], board="ARMv8 Processor rev 1 (v8l)") for name in ("agx-orin", "orin-nx", "orin-nano")
    ]
    assert len({device.tag for device in orins}) == 3


def test_an_update_of_the_system_changes_no_tag(devices: dict[str, Device]) -> None:
    orin = BOARDS["agx-orin"].gpu
    assert orin.memory_bytes is not None
    assert devices["agx-orin"].memory_gib == nominal_gib(orin.memory_bytes - (600 << 20))
    assert replace(devices["agx-orin"], driver="CUDA 13.2").tag == devices["agx-orin"].tag


@pytest.fixture(scope="module")
def built(devices: dict[str, Device], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with the engines of all five."""
    folder = tmp_path_factory.mktemp("identity")
    bundle = write_small_bundle(folder / "bundle").path
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        for name, device in devices.items():
            with pytest.MonkeyPatch.context() as inner:
                inner.setattr(
                    "edgemate.runtime.backends.tensorrt.builder.this_system", lambda name=name: BOARDS[name].system
                )
                build_bundle_engines(Bundle.open(bundle), opened(VERSION, device), BuildOptions())
    return bundle


def test_each_machine_takes_its_own_engines(built: Path, devices: dict[str, Device]) -> None:
    for device in devices.values():
        trt = opened(VERSION, device)
        found = find_engines(Bundle.open(built), trt, "segments")
        assert {engine.path.parent.name for engine in found} == {engine_tag(trt, device)}


@pytest.mark.parametrize(("maker", "taker"), PAIRS)
def test_no_engine_crosses_even_into_the_folder_of_another(
    built: Path, devices: dict[str, Device], tmp_path: Path, maker: str, taker: str
) -> None:
    there, here = opened(VERSION, devices[maker]), opened(VERSION, devices[taker])
    bundle = Path(shutil.copytree(built, tmp_path / "bundle"))
    engines = bundle / "engines"
    own = engines / engine_tag(there, devices[maker])
    for folder in engines.iterdir():
        if folder != own:
            shutil.rmtree(folder)
    own.rename(engines / engine_tag(here, devices[taker]))
    with pytest.raises(BackendError, match=r"was built .*, and (this is|.* has)") as caught:
        find_engines(Bundle.open(bundle), here, "segments")
    assert "\n" not in str(caught.value)


def test_timings_of_kernels_have_a_file_for_each(built: Path, devices: dict[str, Device]) -> None:
    tags = {engine_tag(opened(VERSION, device), device) for device in devices.values()}
    cached = {path.stem for path in (built.parent / "cache" / "edgemate" / "timing").glob("*.timing")}
    assert cached == tags
    assert len(tags) == 5


def forget_the_board(bundle: Path) -> None:
    for path in (bundle / "engines").rglob("*.json"):
        metadata = json.loads(path.read_text())
        for key in ("board", "multiprocessors", "memory_gib"):
            del metadata[key]
        files.write_json(path, metadata)
    record_as_built(bundle)


@pytest.mark.parametrize(("name", "taken"), [("desktop", True), ("agx-orin", False)])
def test_engines_that_do_not_say_their_board_are_taken_where_the_gpu_has_a_name_of_its_own(
    devices: dict[str, Device], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, taken: bool
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("edgemate.runtime.backends.tensorrt.builder.this_system", lambda: BOARDS[name].system)
    bundle, trt = write_small_bundle(tmp_path / "bundle"), opened(VERSION, devices[name])
    build_bundle_engines(bundle, trt, BuildOptions())
    [folder] = (bundle.path / "engines").iterdir()
    folder.rename(folder.with_name("orin_sm87_trt10.13.2"))  # as an earlier version named it
    forget_the_board(bundle.path)
    if taken:
        assert find_engines(Bundle.open(bundle.path), trt, "segments")
        return
    with pytest.raises(BackendError, match="by an earlier edgemate, which did not record the board"):
        find_engines(Bundle.open(bundle.path), trt, "segments")


def measured(patch: pytest.MonkeyPatch, root: Path, name: str, device: Device, backend: dict[str, str]) -> LatencyTable:
    """A table as `bench` would write it on that machine."""
    be(patch, root, name)
    times = [
        StopTimes(exit=k, mean_ms=k, quantiles_ms=(float(k),) * len(latency_tables.QUANTILES), segment_p99_ms=1.0)
        for k in (1, 2, 3)
    ]
    machine = {"processor": latency_tables.processor(), "memory_gib": latency_tables.memory_gib()}
    return LatencyTable(device=name, machine=machine, backend=backend, repeats=9, exits=tuple(times))


def be(patch: pytest.MonkeyPatch, root: Path, name: str) -> None:
    board = BOARDS[name]
    write_tree(root / name, board.files)
    assert board.gpu.memory_bytes is not None
    memory = 32 if name == "desktop" else nominal_gib(board.gpu.memory_bytes)
    patch.setattr(latency_tables, "processor", lambda: processor(root / name))
    patch.setattr(latency_tables, "memory_gib", lambda: memory)


@pytest.mark.parametrize("library", ["tensorrt", "onnxruntime"])
def test_no_latency_table_crosses(
    devices: dict[str, Device], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    bundle = write_small_bundle(tmp_path / "bundle")

    def backend(name: str) -> dict[str, str]:
        own = devices[name].metadata() if library == "tensorrt" else {}
        return {library: "10.3.0", **own}

    for name, device in devices.items():
        write_latency_table(bundle, measured(monkeypatch, tmp_path, name, device, backend(name)))
    for name in devices:
        be(monkeypatch, tmp_path, name)
        found = matching_latency_table(bundle, backend(name))
        assert found is not None
        assert found.device == name
        (bundle.path / "latency" / f"{name}.json").rename(tmp_path / "away")
        assert matching_latency_table(bundle, backend(name)) is None
        (tmp_path / "away").rename(bundle.path / "latency" / f"{name}.json")


def test_this_machine_has_a_memory() -> None:
    assert memory_gib()
