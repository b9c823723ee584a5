from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from edgemate.bundle import Bundle
from edgemate.errors import BackendError, BundleError
from edgemate.runtime.backends.onnxruntime import ONNXRuntimeBackend, _spinning

pytestmark = pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs onnxruntime")


@pytest.fixture(scope="module")
def segments(small_bundle: Bundle) -> ONNXRuntimeBackend:
    return ONNXRuntimeBackend(small_bundle, layout="segments", threads=1)


def test_it_says_what_it_is(segments: ONNXRuntimeBackend) -> None:
    import onnxruntime

    assert segments.metadata() == {"onnxruntime": onnxruntime.__version__, "threads": "1"}


@pytest.mark.parametrize(
    ("version", "key"),
    [
        ("1.20.0", "session.force_spinning_stop"),
        ("1.25.2", "session.force_spinning_stop"),
        ("1.26.0", "session.intra_op.spin_duration_us"),
        ("1.32.0.dev1", "session.intra_op.spin_duration_us"),
        ("2.0.0", "session.intra_op.spin_duration_us"),
    ],
)
def test_a_version_is_given_the_option_it_knows(version: str, key: str) -> None:
    assert _spinning(version)[0] == key


def test_without_the_library_it_says_how_to_get_it(small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendError, match=r"pip install 'edgemate\[ort\]'"):
        ONNXRuntimeBackend(small_bundle, layout="segments", threads=1)


def test_a_graph_whose_tensors_are_not_the_manifests_is_refused(own_bundle: Path) -> None:
    (own_bundle / "onnx/segment_3.onnx").write_bytes((own_bundle / "onnx/segment_2.onnx").read_bytes())
    with pytest.raises(BundleError, match=r"segment_3\.onnx: takes coarse, fine where the manifest says features_2"):
        ONNXRuntimeBackend(Bundle.open(own_bundle, verify=False), layout="segments", threads=1)


def test_a_prefix_that_was_replaced_since_the_bundle_was_opened_is_refused(own_bundle: Path) -> None:
    backend = ONNXRuntimeBackend(Bundle.open(own_bundle), layout="prefixes", threads=1)
    images = Bundle.open(own_bundle).golden().images[:1]
    backend.run_prefix(3, images)
    (own_bundle / "onnx/prefix_2.onnx").write_bytes((own_bundle / "onnx/prefix_1.onnx").read_bytes())
    with pytest.raises(BundleError, match=r"prefix_2\.onnx"):
        backend.run_prefix(2, images)
    backend.run_prefix(3, images)  # which was opened before
    backend.close()


def test_a_run_that_fails_is_one_line(segments: ONNXRuntimeBackend) -> None:
    with pytest.raises(BackendError, match=r"segment_1\.onnx: ONNX Runtime cannot run it") as caught:
        segments.begin(np.zeros((1, 5, 8, 8), np.float32)).advance()
    assert "\n" not in str(caught.value)


def test_a_bundle_without_the_layout_is_refused(small_bundle: Bundle) -> None:
    manifest = small_bundle.manifest.model_copy(
        update={"graphs": {"segments": small_bundle.manifest.graphs["segments"]}}
    )
    with pytest.raises(BundleError, match="has no prefixes, only segments"):
        ONNXRuntimeBackend(Bundle(small_bundle.path, manifest), layout="prefixes", threads=1)
