import math

import pytest

from edgemate import registry
from edgemate.errors import UsageError
from edgemate.registry import Registry, closest

TABLES = [table for table in vars(registry).values() if isinstance(table, Registry)]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.kind)
def test_every_registered_name_leads_to_a_documented_factory(table: Registry) -> None:
    for name in table.names():
        factory = table.get(name)
        assert callable(factory)
        assert factory.__doc__, name


def test_a_miss_names_the_closest() -> None:
    table = Registry("head", {"linear": "builtins:int", "conv": "builtins:int"})
    with pytest.raises(UsageError, match="unknown head 'liner'; did you mean 'linear'"):
        table.get("liner")
    with pytest.raises(UsageError, match="known: conv, linear"):
        table.get("xyz")
    assert closest("xyz", []) == "there are none"


def test_names_are_sorted() -> None:
    assert Registry("head", {"linear": "builtins:int", "conv": "builtins:int"}).names() == ["conv", "linear"]


def test_a_companion_is_found_beside_the_factory_and_may_be_missing() -> None:
    table = Registry("number", {"whole": "math:trunc", "absent": "no_such_module:x"})
    assert table.companion("whole", "") is math.trunc
    assert table.companion("math:sin", "a") is math.asin
    assert table.companion("whole", "check_") is None
    with pytest.raises(UsageError, match="number 'absent' cannot be used here: No module named 'no_such_module'"):
        table.companion("absent", "check_")
    with pytest.raises(UsageError, match="unknown number 'hole'; did you mean 'whole'"):
        table.companion("hole", "check_")
