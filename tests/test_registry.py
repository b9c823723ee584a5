import pytest

from edgemate import registry
from edgemate.errors import UsageError
from edgemate.registry import Registry

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


def test_names_can_be_listed_by_wildcard() -> None:
    assert registry.BACKBONES.names("resnet1*") == ["resnet101", "resnet110", "resnet152", "resnet18"]
