from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemate.errors import BackendError
from edgemate.runtime.backends.onnx_header import OnnxHeader, lowest_onnxruntime, read_onnx_header
from edgemate.runtime.backends.onnxruntime import _Session

versions = st.integers(1, 2**31 - 1)


@given(ir_version=versions, opset=versions, other=versions, padding=st.integers(0, 300), doc=st.text())
def test_a_file_says_what_it_was_written_with(ir_version: int, opset: int, other: int, padding: int, doc: str) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.ModelProto(ir_version=ir_version, producer_name="someone", doc_string=doc, model_version=7)
    model.graph.name = "x" * padding
    model.opset_import.add(domain="com.example", version=other)
    model.opset_import.add(domain="", version=opset)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        assert read_onnx_header(path) == OnnxHeader(ir_version, opset)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(content)
        with suppress(ValueError):
            assert min(read_onnx_header(path)) >= 0


@pytest.mark.parametrize(
    ("header", "needed"),
    [
        (OnnxHeader(8, 18), "1.14"),
        (OnnxHeader(9, 18), "1.15"),
        (OnnxHeader(9, 19), "1.16"),
        (OnnxHeader(9, 20), "1.17"),
        (OnnxHeader(10, 18), "1.18"),
        (OnnxHeader(11, 23), "1.22"),
        (OnnxHeader(99, 18), None),
    ],
)
def test_the_onnxruntime_that_reads_it_is_known(header: OnnxHeader, needed: str | None) -> None:
    assert lowest_onnxruntime(header) == needed


class _Old:
    """An ONNX Runtime 1.17 as far as opening a session goes."""

    __version__ = "1.17.3"

    class SessionOptions:
        def add_session_config_entry(self, *_: str) -> None: ...

    @staticmethod
    def InferenceSession(*_: Any, **__: Any) -> None:  # noqa: N802
        raise RuntimeError("Unsupported model IR version: 10, max supported IR version: 9")


def test_an_onnxruntime_that_is_too_old_is_one_line_that_says_which_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "segment_1.onnx"
    path.write_bytes(b"\x08\x0a\x42\x02\x10\x12")  # IR version 10, opset 18
    with pytest.raises(BackendError) as caught:
        _Session(_Old(), path, threads=1)
    message = str(caught.value)
    assert message.startswith(f"{path}: needs onnxruntime 1.18 or later (IR version 10, opset 18), and 1.17.3 is")
    assert "\n" not in message
    path.write_bytes(b"\x08\x08\x42\x02\x10\x12")  # one that it should have read
    with pytest.raises(BackendError, match="ONNX Runtime cannot load it: Unsupported"):
        _Session(_Old(), path, threads=1)
