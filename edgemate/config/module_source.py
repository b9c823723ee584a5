"""A module's source, found and parsed without importing it or any of its parents."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path

from edgemate import plug_ins

# With these a module may bind names that its top-level statements do not show.
_DYNAMIC = frozenset({"__getattr__", "__path__", "exec", "globals", "locals", "setattr", "vars"})


@dataclass(frozen=True)
class ModuleSource:
    """The names that the statements of a module bind.

    Attributes:
        bound: top-level name → the statement that binds it; None if several do, or one inside an `if` or another block.
        dynamic: the module may bind other names too.
    """

    bound: dict[str, ast.stmt | None]
    dynamic: bool


def read_source(module: str) -> ModuleSource | None:
    """The source of a module; None if it has none that can be read and parsed."""
    try:
        spec = _find(module)
    except _UncertainError:
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    try:
        state = Path(spec.origin).stat()
    except OSError:
        return None
    return _parse(spec.origin, state.st_mtime_ns, state.st_size)


def why_missing(module: str, attribute: str) -> str | None:
    """Why `from module import attribute` must fail, in Python's words; None if it may work.

    Raises nothing and imports nothing, so that a mistyped name is reported before a slow import.
    """
    names = module.split(".")
    if not all(name.isidentifier() for name in names):
        return f"No module named {module!r}"
    if clashing := plug_ins.clash(module):
        return clashing
    try:
        for i in range(1, len(names) + 1):
            name, parent = ".".join(names[:i]), ".".join(names[: i - 1])
            if name not in sys.modules and _find(name) is None:
                return f"No module named {name!r}" if _shows_all(parent) else None
    except _UncertainError:
        return None
    if module in sys.modules:
        found = hasattr(sys.modules[module], attribute)
    else:
        source = read_source(module)
        found = source is None or source.dynamic or attribute in source.bound
    return None if found else f"module {module!r} has no attribute {attribute!r}"


@cache
def _parse(path: str, modified: int, size: int) -> ModuleSource | None:
    """The names in a file. Cached by file: two recipes may have modules of one name beside them."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        tree = ast.parse(text)
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError):
        return None
    bound: dict[str, ast.stmt | None] = {}
    for statement in tree.body:
        for name, plain in _names(statement):
            bound[name] = statement if plain and name not in bound else None
    return ModuleSource(bound, any(_binds_unseen(node) for node in ast.walk(tree)))


def _shows_all(package: str) -> bool:
    """Whether all modules of a package (all top-level modules for "") can be found without importing it."""
    source = read_source(package) if package else None
    return not package or (package not in sys.modules and source is not None and not source.dynamic)


class _UncertainError(Exception):
    """Only importing the module can tell."""


def _find(module: str) -> ModuleSpec | None:
    """Like `importlib.util.find_spec`, which would import the parents."""
    path: Sequence[str] | None = None
    spec: ModuleSpec | None = None
    names = module.split(".")
    for i in range(1, len(names) + 1):
        spec = _find_one(".".join(names[:i]), path)
        if spec is None:
            return None
        path = spec.submodule_search_locations
        if path is None and i < len(names):
            return None
    return spec


def _find_one(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        try:
            spec: ModuleSpec | None = finder.find_spec(name, path)
        except (AttributeError, ImportError, KeyError) as error:  # namespace packages ask sys.modules for their parent
            raise _UncertainError from error
        if spec is not None:
            return spec
    return None


def _binds_unseen(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return isinstance(node.value, ast.Name) and (node.value.id, node.attr) == ("sys", "modules")
    if isinstance(node, ast.ImportFrom):
        return any(alias.name == "*" or (node.module, alias.name) == ("sys", "modules") for alias in node.names)
    name = node.id if isinstance(node, ast.Name) else getattr(node, "name", None)
    return isinstance(node, ast.Global) or name in _DYNAMIC


def _names(statement: ast.stmt) -> Iterator[tuple[str, bool]]:
    """The names that a top-level statement binds, and whether it binds each once and unconditionally."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield statement.name, True
    elif isinstance(statement, (ast.Import, ast.ImportFrom)):
        for alias in statement.names:
            yield alias.asname or alias.name.partition(".")[0], True
    else:
        simple = isinstance(statement, (ast.Assign, ast.AnnAssign))
        targets = [
            node for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        ]
        for node in targets:
            yield node.id, simple and len(targets) == 1
        for inner in ast.walk(statement):
            if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                yield inner.name, False
            elif isinstance(inner, (ast.Import, ast.ImportFrom)):
                for alias in inner.names:
                    yield alias.asname or alias.name.partition(".")[0], False
