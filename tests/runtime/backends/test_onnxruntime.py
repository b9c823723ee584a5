from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edgemate.bundle import Bundle
from edgemate.errors import BackendError, BundleError
from edgemate.runtime.backends.onnxruntime import ONNXRuntimeBackend


@pytest.fixture(scope="module")
def segments(small_bundle: Bundle) -> ONNXRuntimeBackend:
    return ONNXRuntimeBackend(small_bundle, layout="segments", threads=1)


def test_segments_give_the_golden_logits(small_bundle: Bundle, segments: ONNXRuntimeBackend) -> None:
    golden = small_bundle.golden()
    flow = segments.begin(golden.images)
    for exit in range(3):
        np.testing.assert_allclose(flow.advance(), golden.logits[:, exit], rtol=1e-4, atol=1e-5)


def test_pictures_that_are_not_kept_are_gone_from_every_tensor(
    small_bundle: Bundle, segments: ONNXRuntimeBackend
) -> None:
    golden = small_bundle.golden()
    flow = segments.begin(golden.images)
    flow.advance()
    flow.keep(np.array([0, 5, 7]))
    np.testing.assert_allclose(flow.advance(), golden.logits[[0, 5, 7], 1], rtol=1e-4, atol=1e-5)
    flow.keep(np.array([2]))
    np.testing.assert_allclose(flow.advance(), golden.logits[[7], 2], rtol=1e-4, atol=1e-5)


def test_two_passes_at_once_do_not_mix(small_bundle: Bundle, segments: ONNXRuntimeBackend) -> None:
    golden = small_bundle.golden()
    first, second = segments.begin(golden.images[:1]), segments.begin(golden.images[1:2])
    first.advance(), second.advance()
    np.testing.assert_allclose(first.advance(), golden.logits[:1, 1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(second.advance(), golden.logits[1:2, 1], rtol=1e-4, atol=1e-5)


def test_prefixes_give_the_golden_logits(small_bundle: Bundle) -> None:
    golden = small_bundle.golden()
    backend = ONNXRuntimeBackend(small_bundle, layout="prefixes", threads=1)
    for exit in (1, 2, 3):
        found = backend.run_prefix(exit, golden.images)
        np.testing.assert_allclose(found, golden.logits[:, exit - 1], rtol=1e-4, atol=1e-5)


def test_it_says_what_it_is(segments: ONNXRuntimeBackend) -> None:
    import onnxruntime

    assert segments.facts() == {"onnxruntime": onnxruntime.__version__, "threads": "1"}


def test_without_the_library_it_says_how_to_get_it(small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendError, match=r"pip install 'edgemate\[ort\]'"):
        ONNXRuntimeBackend(small_bundle, layout="segments", threads=1)


def test_a_graph_whose_tensors_are_not_the_manifests_is_refused(own_bundle: Path) -> None:
    (own_bundle / "onnx/segment_3.onnx").write_bytes((own_bundle / "onnx/segment_2.onnx").read_bytes())
    with pytest.raises(BundleError, match=r"segment_3\.onnx: takes coarse, fine where the manifest says features_2"):
        ONNXRuntimeBackend(Bundle.open(own_bundle, verify=False), layout="segments", threads=1)


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
