"""Graphs that export does not write never reach ONNX Runtime."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemate import files
from edgemate.bundle import Bundle
from edgemate.bundle.onnx_graph import check_graph
from edgemate.errors import BundleError
from edgemate.runtime import AnytimeClassifier
from edgemate.runtime.backends import onnxruntime as backend

onnx = pytest.importorskip("onnx")
from google.protobuf.message import DecodeError  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

Change = Callable[[Any], object]


def branch() -> Any:
    return helper.make_graph(
        [helper.make_node("Constant", [], ["y"], value=numpy_helper.from_array(np.zeros(1, np.float32)))],
        "branch",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )


def node(operator: str, **attributes: Any) -> Change:
    return lambda model: model.graph.node.append(helper.make_node(operator, ["image"], ["new"], **attributes))


def sized(operator: str, size: Any) -> Change:
    """A node with these sizes, in an initializer behind it or in a Constant before it."""

    def change(model: Any) -> None:
        sizes = numpy_helper.from_array(np.array(size, np.int64), "sizes")
        if operator in ("Expand", "Range"):
            model.graph.node.insert(0, helper.make_node("Constant", [], ["sizes"], value=sizes))
        else:
            model.graph.initializer.append(sizes)
        inputs = {"ConstantOfShape": ["sizes"], "Resize": ["image", "", "", "sizes"], "Range": ["a", "sizes", "b"]}
        model.graph.node.append(helper.make_node(operator, inputs.get(operator, ["image", "sizes"]), ["new"]))

    return change


def external(model: Any) -> None:
    tensor = model.graph.initializer.add(name="outside", data_type=TensorProto.FLOAT, dims=[1])
    tensor.external_data.add(key="location", value="/etc/passwd")


def external_in_attribute(model: Any) -> None:
    tensor = model.graph.node[0].attribute[0].t
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def message(number: int, content: bytes) -> bytes:
    """A field that is a message, as protobuf writes it; the onnx package itself writes none as deep as `deep`."""
    key, length = number << 3 | 2, b""
    rest = len(content)
    while rest >= 128:
        length += bytes([rest & 127 | 128])
        rest >>= 7
    return bytes([key]) + length + bytes([rest]) + content


def deep(levels: int) -> bytes:
    """A model with an If in an If, and so on."""
    graph = b""
    for _ in range(levels):
        graph = message(1, message(4, b"If") + message(5, message(6, graph)))
    return message(7, graph)


CHANGES: dict[str, tuple[Change, str]] = {
    "If": (node("If", then_branch=branch(), else_branch=branch()), "has an If, which only the conditional graph needs"),
    "Loop": (node("Loop", body=branch()), "has the operator 'Loop', which export does not write"),
    "Scan": (node("Scan", body=branch(), num_scan_inputs=1), "has the operator 'Scan'"),
    "SequenceMap": (node("SequenceMap", body=branch()), "has the operator 'SequenceMap'"),
    "a graph in Relu": (node("Relu", body=branch()), "has a graph within the operator 'Relu'"),
    "RandomNormal": (node("RandomNormal", shape=[1]), "has the operator 'RandomNormal'"),
    "StringNormalizer": (node("StringNormalizer"), "has the operator 'StringNormalizer'"),
    "own domain": (node("Relu", domain="com.example"), "has operators of the domain 'com.example'"),
    "contrib": (node("Inverse", domain="com.microsoft"), "has operators of the domain 'com.microsoft'"),
    "ml": (node("TreeEnsembleClassifier", domain="ai.onnx.ml"), "has operators of the domain 'ai.onnx.ml'"),
    "opset": (lambda model: model.opset_import.add(domain="x.y", version=1), "has operators of the domain 'x.y'"),
    "function": (lambda model: model.functions.add(name="Relu", domain=""), "has functions"),
    "training": (lambda model: model.training_info.add(), "has a training graph"),
    "external": (external, "has arrays in other files"),
    "external attribute": (external_in_attribute, "has arrays in other files"),
    "sparse": (lambda model: model.graph.sparse_initializer.add(), "has sparse arrays"),
    "text": (lambda model: model.graph.initializer.append(helper.make_tensor("s", 8, [1], [b"x"])), "arrays of text"),
    "a large constant": (sized("ConstantOfShape", [1 << 16, 1 << 16]), "'ConstantOfShape' with 4.29e+09 values"),
    "a large array": (sized("Expand", [1 << 40]), "'Expand' with 1.1e+12 values; the limit is 67,108,864"),
    "many tiles": (sized("Tile", [1 << 14, 1 << 14]), "'Tile' with 2.68e+08 values"),
    "a large size": (sized("Resize", [1, 3, 1 << 20, 1 << 20]), "'Resize' with 3.3e+12 values"),
    "a long range": (sized("Range", 1 << 40), "'Range' with 1.1e+12 values"),
    "wide pads": (node("MaxPool", kernel_shape=[3, 3], pads=[1 << 30] * 4), "'MaxPool' with the number 1,073,741,824"),
    "no operator": (lambda model: model.graph.node.add(), "has a node with 0 operators"),
    "no graph": (lambda model: model.ClearField("graph"), "has 0 graphs"),
    "long name": (lambda model: setattr(model.graph, "name", "x" * 5000), "has a name of 5,000 bytes"),
}


def changed(folder: Path, change: Change) -> Path:
    path = folder / "onnx" / "segment_1.onnx"
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("kind", CHANGES)
def test_it_is_refused_before_the_library_sees_it(own_bundle: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    change, message = CHANGES[kind]
    changed(own_bundle, change)
    monkeypatch.setattr(backend, "_Session", None)  # which a graph that passes would be given
    with pytest.raises(BundleError) as caught:
        AnytimeClassifier.load(own_bundle, verify=False)
    assert message in str(caught.value)
    assert "segment_1.onnx: not a graph that edgemate exports: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_branches_are_for_the_conditional_graph(own_bundle: Path) -> None:
    path = changed(own_bundle, CHANGES["If"][0])
    check_graph(path, branches=True)
    path.write_bytes(deep(31))
    check_graph(path, branches=True)
    path.write_bytes(deep(10_000))
    with pytest.raises(BundleError, match="more than 32 levels"):
        check_graph(path, branches=True)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"\x3a",
        b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x3a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
        b"\x3b\x3c",
        b"\x38\x01",
        b"\x3a\x02\x08\x01",
        b"ORTM" * 10,
        b"\x3a\x00\x3a\x00",
    ],
)
def test_bytes_that_are_no_graph_are_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=r"a\.onnx: not a graph that edgemate exports: ") as caught:
        check_graph(tmp_path / "a.onnx", branches=False)
    assert "\n" not in str(caught.value)


def test_names_that_are_not_text_are_refused(own_bundle: Path) -> None:
    path = own_bundle / "onnx" / "segment_1.onnx"
    path.write_bytes(path.read_bytes().replace(b"fine", b"fi\xffe"))
    with pytest.raises(BundleError, match="not a graph that edgemate exports"):
        check_graph(path, branches=False)


def test_a_file_of_nothing_but_fields_is_read_no_further_than_the_limit(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"\x08\x01" * 5_000_000)
    started = time.process_time()
    with pytest.raises(BundleError, match="has more than 1,000,000 fields"):
        check_graph(tmp_path / "a.onnx", branches=False)
    assert time.process_time() - started < 5


@given(st.binary(max_size=40), st.integers(0, 2000))
def test_any_bytes_pass_or_are_refused(
    small_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    content = small_bundle.file("onnx/segment_1.onnx").read_bytes()
    path = tmp_path_factory.getbasetemp() / "noise.onnx"
    path.write_bytes(content[:at] + noise + content[at + len(noise) :])
    try:
        check_graph(path, branches=False)
    except BundleError:
        return
    try:
        model = onnx.load(path)  # what passes is an ONNX file with nothing else in it,
    except DecodeError:  # or none at all, which ONNX Runtime refuses in one line
        return
    assert not model.functions
    assert {entry.op_type for entry in model.graph.node} <= {"Conv", "Relu", "Add", "Constant", "Flatten", "Gemm"}


def test_numbers_that_are_no_sizes_may_be_large(own_bundle: Path) -> None:
    def change(model: Any) -> None:
        end = numpy_helper.from_array(np.array([2**63 - 1, -(2**63)], np.int64), "end")
        lowest = numpy_helper.from_array(np.array([np.finfo(np.float32).min, np.inf], np.float32))
        small = numpy_helper.from_array(np.array([2, 3], np.int64), "small")
        model.graph.initializer.extend([end, small])
        model.graph.node.append(helper.make_node("ConstantOfShape", ["small"], ["filled"], value=lowest))
        model.graph.node.append(helper.make_node("Slice", ["image", "end", "end"], ["part"]))
        model.graph.node.append(helper.make_node("Constant", [], ["ints"], value_ints=[2**63 - 1]))

    check_graph(changed(own_bundle, change), branches=False)


REAL = (
    "FLOAT",
    "UINT8",
    "INT8",
    "UINT16",
    "INT16",
    "INT32",
    "INT64",
    "FLOAT16",
    "DOUBLE",
    "UINT32",
    "UINT64",
    "BFLOAT16",
)
OTHER = [
    kind
    for kind in ("COMPLEX64", "COMPLEX128", "FLOAT8E4M3FN", "FLOAT8E5M2", "INT4", "UINT4")
    if hasattr(TensorProto, kind)  # not in the oldest version of onnx
]


def tensor(kind: str, numbers: list[int], *, raw: bool) -> Any:
    """An array of the type, its numbers as bytes or in the field of its type."""
    number = getattr(TensorProto, kind)
    if not raw or kind in OTHER:
        return helper.make_tensor("sizes", number, [len(numbers)], numbers)
    if kind == "BFLOAT16":
        content = (np.array(numbers, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    else:
        content = np.array(numbers, helper.tensor_dtype_to_np_dtype(number))
    return helper.make_tensor("sizes", number, [len(numbers)], content.tobytes(), raw=True)


def expanded(folder: Path, sizes: Any, *, constant: bool = False, **attributes: Any) -> None:
    """Check a graph with an Expand to these sizes, in an initializer or a Constant."""

    def change(model: Any) -> None:
        if constant:
            model.graph.node.append(helper.make_node("Constant", [], ["sizes"], **attributes))
        else:
            model.graph.initializer.append(sizes)
        model.graph.node.append(helper.make_node("Expand", ["image", "sizes"], ["new"]))

    check_graph(changed(folder, change), branches=False)


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("kind", REAL)
def test_sizes_of_every_type_are_limited(own_bundle: Path, kind: str, raw: bool) -> None:
    before = (own_bundle / "onnx" / "segment_1.onnx").read_bytes()
    expanded(own_bundle, tensor(kind, [2, 3, 4], raw=raw))
    for large in ([100] * 8, [127, 126, 125, 124]):
        for constant in (False, True):
            (own_bundle / "onnx" / "segment_1.onnx").write_bytes(before)
            sizes = tensor(kind, large, raw=raw)
            with pytest.raises(BundleError, match=r"'Expand' with [0-9.e+]+ values; the limit is"):
                expanded(own_bundle, sizes, constant=constant, **({"value": sizes} if constant else {}))


@pytest.mark.parametrize("kind", OTHER)
def test_a_size_of_a_type_that_is_none_is_refused(own_bundle: Path, kind: str) -> None:
    with pytest.raises(BundleError, match="'Expand' with a size that is no array of at most 64 real numbers"):
        expanded(own_bundle, tensor(kind, [1, 2], raw=False))


@pytest.mark.parametrize(
    "attributes",
    [{"value_float": 1e10}, {"value_floats": [1e5, 1e5]}, {"value_int": 10**10}, {"value_ints": [10**5] * 2}],
)
def test_sizes_in_an_attribute_are_limited(own_bundle: Path, attributes: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match=r"'Expand' with 1e\+10 values"):
        expanded(own_bundle, None, constant=True, **attributes)


def test_a_size_is_not_hidden_behind_other_numbers(own_bundle: Path) -> None:
    before = (own_bundle / "onnx" / "segment_1.onnx").read_bytes()
    beside = numpy_helper.from_array(np.array(1 << 40, np.int64), "sizes")  # of which the library takes the bytes
    beside.int64_data.extend([1] * 65)
    many = numpy_helper.from_array(np.array([1 << 40] + [1] * 64, np.int64), "sizes")
    for sizes in (beside, many):
        (own_bundle / "onnx" / "segment_1.onnx").write_bytes(before)
        with pytest.raises(BundleError, match="'Expand' with "):
            expanded(own_bundle, sizes)


@pytest.mark.parametrize("field", [b"\x40\x61", b"\x48\x01"])
def test_a_name_or_content_that_protobuf_would_skip_is_refused(tmp_path: Path, field: bytes) -> None:
    sizes = numpy_helper.from_array(np.array(1 << 40, np.int64), "sizes").SerializeToString()
    (tmp_path / "a.onnx").write_bytes(message(7, message(5, sizes + field)))
    with pytest.raises(BundleError, match="has a number as the name or content of an array"):
        check_graph(tmp_path / "a.onnx", branches=False)


def test_graphs_of_every_layout_pass(small_bundle: Bundle) -> None:
    for graphs in small_bundle.manifest.graphs.values():
        for graph in graphs:
            check_graph(small_bundle.file(graph.file), branches=False)


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
    assert "segment_1.onnx: not a graph that edgemate exports: " in shown.stderr
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
