from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgemate.errors import UsageError
from edgemate.profiling.device_spec import DeviceSpec, device_spec_names, read_device_spec, read_device_specs

VALID = {
    "name": "board",
    "peak_flops": {"fp32": {"value": 1e12, "source": "data sheet"}},
    "memory_bandwidth": {"value": 1e10, "source": "data sheet"},
}


def test_four_devices_are_shipped_with_a_source_for_every_figure() -> None:
    assert device_spec_names() == ["agx-orin", "orin-nano", "orin-nx", "thor"]
    for device in read_device_specs(device_spec_names()):
        assert set(device.peak_flops) == {"fp32", "fp16", "int8"}
        figures = (*device.peak_flops.values(), device.memory_bandwidth, device.on_chip_bytes)
        assert all(figure is not None and len(figure.source) > 20 for figure in figures)
        assert "tensor cores" in device.units
        peaks = [device.peak_flops[precision].value for precision in ("fp32", "fp16", "int8")]
        assert peaks[1] == pytest.approx(2 * peaks[0], rel=0.01)
        assert peaks[2] == pytest.approx(2 * peaks[1], rel=0.01)


def test_the_peaks_follow_from_cores_and_clocks() -> None:
    """A tensor core of Orin multiplies 256 pairs of float16 per clock."""
    cores_and_clocks = {"orin-nano": (32, 1.020e9), "orin-nx": (32, 1.173e9), "agx-orin": (64, 1.3e9)}
    for name, (cores, clock) in cores_and_clocks.items():
        assert read_device_spec(name).peak_flops["fp16"].value == pytest.approx(2 * 256 * cores * clock, rel=0.03)


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_a_file_of_ones_own(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"board{suffix}"
    path.write_text(json.dumps(VALID))  # JSON is YAML
    assert read_device_spec(str(path)) == DeviceSpec.model_validate(VALID)
    assert read_device_specs([str(path), str(path), "thor"])[1].name.startswith("Jetson T5000")


def test_a_number_without_a_point_is_a_number(tmp_path: Path) -> None:
    path = tmp_path / "board.yaml"
    path.write_text(
        "name: board\npeak_flops: {int8: {value: 2e12, source: text}}\nmemory_bandwidth: {value: 3e9, source: text}\n"
    )
    assert read_device_spec(str(path)).peak_flops["int8"].value == 2e12


def test_what_is_neither_shipped_nor_a_file_is_said() -> None:
    with pytest.raises(UsageError, match=r"device spec .orin.: neither one of agx-orin, .*, thor nor a YAML"):
        read_device_spec("orin")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2", "not valid YAML or JSON: "),
        ("name: 2024-13-45\n", "peak_flops: missing"),
        ("name: !!timestamp 2024-13-45\n", "not valid YAML or JSON: a value of timestamp"),
        ("{" * 1000, "not valid YAML or JSON: has more than 32 levels"),
        ("- 1", "not a mapping"),
        ("", "not a mapping"),
        (json.dumps(VALID | {"peak": 1}), "peak: unknown key"),
        (json.dumps({key: VALID[key] for key in ("name", "peak_flops")}), "memory_bandwidth: missing"),
        (json.dumps(VALID | {"peak_flops": {}}), "peak_flops: "),
        (json.dumps(VALID | {"peak_flops": {"fp64": {"value": 1, "source": "text"}}}), "peak_flops.fp64"),
        (
            json.dumps(VALID | {"memory_bandwidth": {"value": -1, "source": "text"}}),
            "memory_bandwidth.value: should be",
        ),
        (json.dumps(VALID | {"memory_bandwidth": {"value": float("inf"), "source": "text"}}), "memory_bandwidth.value"),
        (json.dumps(VALID | {"memory_bandwidth": {"value": "fast", "source": "text"}}), "memory_bandwidth.value"),
        (json.dumps(VALID | {"memory_bandwidth": {"value": 1}}), "memory_bandwidth.source: missing"),
        (json.dumps(VALID | {"memory_bandwidth": 1e9}), "memory_bandwidth: "),
    ],
)
def test_a_file_that_is_no_specification_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "board.json"
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        read_device_spec(str(path))
    assert str(error.value).startswith(f"device spec {path}: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.yaml", tmp_path):
        with pytest.raises(UsageError, match="cannot be read: "):
            read_device_spec(str(path))
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (2 << 20))
    with pytest.raises(UsageError, match="larger than 131,072 bytes"):
        read_device_spec(str(large))
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UsageError, match="not valid YAML"):
        read_device_spec(str(binary))


def test_specifications_and_floors_need_no_torch() -> None:
    code = (
        "import sys; from edgemate.profiling.device_spec import read_device_spec; "
        "from edgemate.profiling import counts, roofline; read_device_spec('thor'); "
        "print([name for name in ('torch', 'onnx', 'numpy', 'onnxruntime') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("[]", "['numpy']")


def test_an_empty_name_is_no_file_either() -> None:
    with pytest.raises(UsageError, match="device spec '': neither one of"):
        read_device_spec("")


def test_two_devices_of_one_name_would_be_mixed_up(tmp_path: Path) -> None:
    figure = "{value: 1.0e9, source: measured}"
    paths = [tmp_path / name for name in ("a.yaml", "b.yaml")]
    for path in paths:
        path.write_text(f"name: board\npeak_flops: {{fp16: {figure}}}\nmemory_bandwidth: {figure}\n")
    assert len(read_device_specs([str(paths[0]), str(paths[0]), "thor"])) == 2
    with pytest.raises(UsageError, match=r"a.yaml and .*b.yaml: both have the name 'board'; give each its own"):
        read_device_specs([str(path) for path in paths])
