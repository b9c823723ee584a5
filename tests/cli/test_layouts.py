from __future__ import annotations

import pytest

from edgemate.cli.layouts import parse_layouts
from edgemate.errors import UsageError


def test_layouts_keep_their_order() -> None:
    assert parse_layouts("prefixes, segments") == ("prefixes", "segments")


@pytest.mark.parametrize("given", ["graphs", "", "segments,segments", "segments,"])
def test_layouts_are_known_ones(given: str) -> None:
    with pytest.raises(UsageError, match="name some of segments, prefixes, conditional, each once"):
        parse_layouts(given)
