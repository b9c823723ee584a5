from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgemate import limits

PAGE = Path(__file__).parents[1] / "docs" / "limits.md"


def test_the_documents_list_every_limit_with_its_figure() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+)(?: (\w+))? \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    stated = {name: (int(number.replace(",", "")), unit, of) for name, number, unit, of in rows}
    known = limits.all_limits()
    assert stated == {
        name: (limit.most, limit.unit and f"{limit.unit}{'es' if limit.unit.endswith('s') else 's'}", limit.of)
        for name, limit in known.items()
    }


def test_a_limit_is_in_its_message() -> None:
    with pytest.raises(ValueError, match="has 10,001 files; the limit is 10,000"):
        limits.BUNDLE_FILES.check(10_001)
    limits.BUNDLE_FILES.check(10_000)
