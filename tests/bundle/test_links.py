"""No link in a bundle is followed, to read or to write; and no special file is opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from commands import invoke

from edgemate.bundle import Bundle, replace_file
from edgemate.cli.bench import bench
from edgemate.cli.calibrate import calibrate
from edgemate.cli.inspect import inspect
from edgemate.errors import BundleError, EdgemateError
from edgemate.latency_tables import QUANTILES, LatencyTable, StopTimes, measured_devices, write_latency_table

LISTED = ("bundle.json", "policies.json", "golden.npz", "calibration.npz", "onnx/segment_1.onnx")


def table(device: str = "orin") -> LatencyTable:
    times = tuple(
        StopTimes(exit=k, mean_ms=1.0, quantiles_ms=(1.0,) * len(QUANTILES), segment_p99_ms=1.0) for k in (1, 2, 3)
    )
    return LatencyTable(device=device, machine={}, backend={}, repeats=1, exits=times)


@pytest.mark.parametrize("name", LISTED)
@pytest.mark.parametrize("kind", ["link", "FIFO", "folder", "device"])
@pytest.mark.timeout(60)
def test_every_listed_file_is_a_plain_file(own_bundle: Path, tmp_path: Path, name: str, kind: str) -> None:
    path = own_bundle / name
    if kind == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.unlink()
        if kind == "FIFO":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to("/dev/zero")
    for verify in (True, False):
        with pytest.raises(BundleError) as caught:
            Bundle.open(own_bundle, verify=verify)
        assert str(caught.value).startswith(f"{path}: is a {'link' if kind == 'device' else kind}")


def test_policies_are_not_written_through_a_link(own_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(own_bundle)
    for name in ("policies.json", "bundle.json"):
        outside = tmp_path / f"outside {name}"
        (own_bundle / name).rename(outside)
        content = outside.read_bytes()
        (own_bundle / name).symlink_to(outside)
        with pytest.raises(BundleError, match="is a link, and links are not followed"):
            replace_file(bundle, "policies.json", b"{}")
        assert isinstance(invoke(calibrate, own_bundle).exception, BundleError)
        assert outside.read_bytes() == content
        outside.replace(own_bundle / name)


@pytest.mark.parametrize("linked", ["latency", "latency/orin.json"])
def test_bench_writes_nothing_outside(own_bundle: Path, tmp_path: Path, linked: str) -> None:
    pytest.importorskip("onnxruntime")
    outside = tmp_path / "outside"
    if linked == "latency":
        outside.mkdir()
    else:
        (own_bundle / "latency").mkdir()
        outside.write_text("mine")
    (own_bundle / linked).symlink_to(outside)
    with pytest.raises(BundleError, match=f"{linked}: is a link"):
        write_latency_table(Bundle.open(own_bundle), table())
    said = invoke(bench, own_bundle, "--device", "orin", "--threads", 1, "--repeats", 100_000)  # found before these
    assert isinstance(said.exception, BundleError)
    assert outside.is_dir() and not any(outside.iterdir()) if linked == "latency" else outside.read_text() == "mine"


def test_latency_tables_are_not_read_through_a_link(own_bundle: Path, tmp_path: Path) -> None:
    write_latency_table(Bundle.open(own_bundle), table())
    (own_bundle / "latency").rename(tmp_path / "outside")
    (own_bundle / "latency").symlink_to(tmp_path / "outside")
    with pytest.raises(BundleError, match="latency: is a link"):
        measured_devices(Bundle.open(own_bundle))
    said = invoke(calibrate, own_bundle, "--device", "orin")
    assert isinstance(said.exception, EdgemateError)
    assert "latency: is a link" in str(said.exception)


def test_a_table_says_of_which_device_it_is(own_bundle: Path) -> None:
    write_latency_table(Bundle.open(own_bundle), table("thor"))
    (own_bundle / "latency" / "thor.json").rename(own_bundle / "latency" / "orin.json")
    said = invoke(calibrate, own_bundle, "--device", "orin")
    assert "orin.json: is of device 'thor'" in str(said.exception)


def test_inspect_does_not_list_linked_engines(own_bundle: Path, tmp_path: Path) -> None:
    (own_bundle / "engines").symlink_to(tmp_path)
    assert "engines: is a link" in str(invoke(inspect, own_bundle).exception)


@pytest.mark.parametrize("name", ["onnx/segment_1.ort", "onnx/segment_1.onnx.bin", "segment_1"])
def test_a_graph_is_an_onnx_file_by_its_name(own_bundle: Path, name: str) -> None:
    manifest = (own_bundle / "bundle.json").read_text()
    (own_bundle / "bundle.json").write_text(manifest.replace("onnx/segment_1.onnx", name))
    with pytest.raises(BundleError, match=r"does not end in \.onnx"):
        Bundle.open(own_bundle, verify=False)
