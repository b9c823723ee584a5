from __future__ import annotations

from collections.abc import Iterator

import pytest
from bundles import small_bundle
from served import Served, serving

from edgemate.bundle import Bundle

__all__ = ["small_bundle"]


@pytest.fixture(scope="session")
def server(small_bundle: Bundle) -> Iterator[Served]:
    """The small bundle with the operating point `balanced`; what a client does too slowly ends after half a second."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("aiohttp")
    pytest.importorskip("prometheus_client")
    with serving(small_bundle.path, "--policy", "balanced", "--timeout-s", 0.5) as served:
        yield served
        served.end()
    assert served.stderr == ""  # whatever the tests sent
