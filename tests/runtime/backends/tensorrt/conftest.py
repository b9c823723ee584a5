from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def quick_collection() -> Iterator[None]:
    """Let `gc.collect` look at what these tests make alone: the objects of a whole suite take it a second each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
