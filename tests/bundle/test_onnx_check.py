"""A graph has all its weights in itself, and only text that is UTF-8, whatever the libraries would accept."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemate import files
from edgemate.bundle import Bundle
from edgemate.bundle.onnx_check import problem_of
from edgemate.errors import BundleError

onnx = pytest.importorskip("onnx")


def changed(path: Path, change: object) -> bytes:
    model = onnx.load(path)
    change(model)  # type: ignore[operator]
    return bytes(model.SerializeToString())


def external(tensor: object, *, location: bool = True) -> None:
    tensor.ClearField("raw_data")  # type: ignore[attr-defined]
    if location:
        tensor.data_location = onnx.TensorProto.EXTERNAL  # type: ignore[attr-defined]
    for key, value in (("location", "../../private.bin"), ("length", "4")):
        entry = tensor.external_data.add()  # type: ignore[attr-defined]
        entry.key, entry.value = key, value


def weight() -> object:
    return onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [1], [0.0])


def in_subgraph(model: object) -> None:
    tensor = weight()
    external(tensor)
    graph = onnx.helper.make_graph([], "inner", [], [], [tensor])
    model.graph.node.append(onnx.helper.make_node("If", ["c"], ["o"], then_branch=graph))  # type: ignore[attr-defined]


def in_sparse(model: object) -> None:
    values, indices = weight(), onnx.helper.make_tensor("i", onnx.TensorProto.INT64, [1], [0])
    sparse = onnx.helper.make_sparse_tensor(values, indices, [4])
    external(sparse.values)
    model.graph.sparse_initializer.append(sparse)  # type: ignore[attr-defined]


def in_function(model: object) -> None:
    tensor = weight()
    external(tensor)
    node = onnx.helper.make_node("Constant", [], ["o"], value=tensor)
    opset = onnx.helper.make_opsetid("", 18)
    model.functions.append(onnx.helper.make_function("d", "f", [], ["o"], [node], [opset]))  # type: ignore[attr-defined]


def in_training(model: object) -> None:
    tensor = weight()
    external(tensor)
    info = model.training_info.add()  # type: ignore[attr-defined]
    info.initialization.initializer.append(tensor)


@pytest.mark.parametrize(
    "place",
    [
        lambda model: external(model.graph.initializer.add()),
        lambda model: external(model.graph.initializer.add(), location=False),
        lambda model: external(model.graph.node[0].attribute[0].t),
        in_subgraph,
        in_sparse,
        in_function,
        in_training,
    ],
)
def test_external_data_is_refused_wherever_it_is(own_bundle: Path, place: object) -> None:
    path = own_bundle / "onnx" / "segment_1.onnx"
    path.write_bytes(changed(path, place))
    (own_bundle.parent.parent / "private.bin").write_bytes(b"1234")
    bundle = Bundle.open(own_bundle, verify=False)
    with pytest.raises(BundleError, match=r"segment_1\.onnx: keeps weights in another file \(external data\)"):
        bundle.graph(bundle.manifest.graphs["segments"][0])


def test_what_export_and_the_tests_write_is_fine(small_bundle: Bundle) -> None:
    for graphs in small_bundle.manifest.graphs.values():
        for graph in graphs:
            assert problem_of(small_bundle.graph(graph).read_bytes()) is None


def spoiled(content: bytes, name: bytes) -> bytes:
    """The file with one name, everywhere it is, made of bytes that are no UTF-8."""
    assert name in content
    return content.replace(name, b"\xff" * len(name))


@pytest.mark.parametrize("name", [b"logits_1", b"image", b"Conv", b"make_"])
def test_names_that_are_not_utf8_are_refused_and_json_stays_json(own_bundle: Path, name: bytes) -> None:
    pytest.importorskip("onnxruntime")
    path = own_bundle / "onnx" / "segment_1.onnx"
    path.write_bytes(spoiled(path.read_bytes(), name))
    manifest = json.loads((own_bundle / "bundle.json").read_text())
    manifest["files"]["onnx/segment_1.onnx"] = {"sha256": files.sha256(path), "bytes": path.stat().st_size}
    (own_bundle / "bundle.json").write_text(json.dumps(manifest))
    shown = subprocess.run(
        [sys.executable, "-m", "edgemate", "bench", str(own_bundle), "--json", "--threads", "1", "--quiet"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (shown.returncode, shown.stdout) == (2, "")
    assert "that is not UTF-8" in shown.stderr
    assert shown.stderr.count("\n") == 1


def test_onnx_runtime_prints_nothing_of_its_own(own_bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its Python side prints "EP Error" to standard output where it tries again, which is switched off."""
    library = pytest.importorskip("onnxruntime")
    from edgemate.errors import BackendError
    from edgemate.runtime.backends.onnxruntime import _Session

    path = own_bundle / "onnx" / "segment_1.onnx"
    path.write_bytes(spoiled(path.read_bytes(), b"Conv"))  # which its message repeats
    with pytest.raises(BackendError):
        _Session(library, path, 1)
    assert capfd.readouterr().out == ""


@given(st.binary(max_size=200))
def test_any_bytes_have_an_answer(content: bytes) -> None:
    found = problem_of(content)
    assert found is None or "\n" not in found


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_any_changed_byte_has_an_answer(small_bundle: Bundle, place: int, byte: int) -> None:
    content = bytearray((small_bundle.path / "onnx" / "prefix_3.onnx").read_bytes())
    content[place % len(content)] = byte
    problem_of(bytes(content))


@pytest.mark.parametrize("content", [b"\x3a", b"\x3a\xff", b"\x3b\x00", b"\x3a" + b"\xff" * 12, b"\x00\x01", b"\x07"])
def test_what_is_no_onnx_file(content: bytes) -> None:
    assert problem_of(content) == "is not an ONNX file"


def test_deep_and_long_files_end_soon() -> None:
    nested = b""
    for _ in range(200):  # an attribute that holds a graph that holds a node
        for key in (b"\x32", b"\x2a", b"\x0a"):
            nested = key + _length(nested) + nested
    started = time.perf_counter()
    assert problem_of(b"\x3a" + _length(nested) + nested) == "is nested more than 64 deep"
    assert time.perf_counter() - started < 5


def _length(content: bytes) -> bytes:
    number, found = len(content), b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])
