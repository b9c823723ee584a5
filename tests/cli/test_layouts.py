from __future__ import annotations

import pytest

from edgemate.api.options import check_layouts
from edgemate.cli.layouts import split_layouts
from edgemate.errors import UsageError


def test_layouts_keep_their_order() -> None:
    assert check_layouts(split_layouts("prefixes, segments")) == ("prefixes", "segments")


@pytest.mark.parametrize("given", ["graphs", "", "segments,segments", "segments,"])
def test_layouts_are_known_ones(given: str) -> None:
    with pytest.raises(UsageError, match="name some of segments, prefixes, conditional, each once"):
        check_layouts(split_layouts(given))
