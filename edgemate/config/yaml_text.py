"""Reading YAML that anybody may have written: plain values only, bounded in size, depth and what aliases unfold to.

The values are those that JSON has too: null, bool, integers, floats, strings, lists, and mappings of plain keys. A
date is a string, since no option is one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from edgemate.limits import INTEGER, YAML_BYTES, YAML_DEPTH, YAML_NODES

_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = frozenset(_TAG + kind for kind in ("null", "bool", "int", "float", "str", "seq", "map", "merge"))
_SHOWN = 40  # characters of a value in a message


def parse_yaml(text: str) -> Any:
    """The value of YAML text.

    Raises:
        ValueError: it is not valid YAML, has a value of another kind, a key twice, a number out of range, or is beyond
            a limit; one line.
    """
    YAML_BYTES.check(len(text.encode(errors="replace")))
    try:
        return _Loader(text).get_single_data()
    except Exception as error:  # PyYAML has errors of its own, and lets those of int() and chr() pass
        raise ValueError(_one_line(error)) from error


class _Loader(yaml.SafeLoader):
    """A SafeLoader within limits; errors are yaml.YAMLError and ValueError."""

    def __init__(self, text: str) -> None:
        self._nodes = 0
        self._sizes: dict[int, int] = {}  # id of a node that has been read whole → values in it
        super().__init__(text)

    # The scanner takes time that grows with the square of the depth, and the composer calls itself.
    def fetch_flow_collection_start(self, token: Any) -> None:
        self._check_depth()
        super().fetch_flow_collection_start(token)

    def add_indent(self, column: int) -> bool:
        self._check_depth()
        return bool(super().add_indent(column))

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            node = super().compose_node(parent, index)
            if id(node) not in self._sizes:
                raise yaml.composer.ComposerError(None, None, "an alias that contains itself", mark)
            self._add(self._sizes[id(node)])
            return node
        before = self._nodes
        self._add(1)
        node = super().compose_node(parent, index)
        self._sizes[id(node)] = self._nodes - before
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _error("a key that is a list or a mapping", key)
            if (key.tag, key.value) in seen and key.tag != f"{_TAG}merge":
                raise _error(f"duplicate key {_shown(key.value)}", key)
            seen.add((key.tag, key.value))
        return node

    def _add(self, nodes: int) -> None:
        self._nodes += nodes
        YAML_NODES.check(self._nodes)

    def _check_depth(self) -> None:
        if self.flow_level + len(self.indents) >= YAML_DEPTH.most:
            raise ValueError(YAML_DEPTH.exceeded())


def _scalar(construct: Callable[[_Loader, yaml.ScalarNode], Any]) -> Callable[[_Loader, yaml.ScalarNode], Any]:
    """The same constructor with one kind of error: PyYAML's raise several for text that is not of their tag."""

    def constructed(loader: _Loader, node: yaml.ScalarNode) -> Any:
        try:
            value = construct(loader, node)
        except yaml.YAMLError:
            raise
        except (ValueError, KeyError, IndexError, AttributeError, OverflowError, TypeError):
            raise _error(f"{_shown(node.value)} is not of {node.tag.removeprefix(_TAG)}", node) from None
        if isinstance(value, str) and _has_surrogate(value):
            raise _error(f"{_shown(value)} is not valid text", node)
        if isinstance(value, int) and abs(value) > INTEGER.most:
            raise _error(f"the integer {str(node.value)[:_SHOWN]} is out of range; at most {INTEGER.most}", node)
        return value

    return constructed


def _refuse(loader: _Loader, node: yaml.Node) -> Any:
    raise _error(f"a value of {node.tag.removeprefix(_TAG)}; write plain values", node)


def _error(problem: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _PLAIN_TAGS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind in ("null", "bool", "int", "float", "str"):
    _Loader.add_constructor(_TAG + _kind, _scalar(yaml.SafeLoader.yaml_constructors[_TAG + _kind]))
for _tag in yaml.SafeLoader.yaml_constructors:
    if _tag is not None and _tag not in _PLAIN_TAGS:
        _Loader.add_constructor(_tag, _refuse)
_Loader.add_constructor(None, _refuse)
