"""Two connected processes for the tests of each file of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ranks import Ranks, connected_ranks


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    """Two processes, connected by gloo."""
    with connected_ranks(2, tmp_path_factory.mktemp("ranks")) as ranks:
        yield ranks
