"""A registered part's options, read from its source, so that a recipe is validated without importing the part.

Most of these modules import torch, which takes seconds, while a factory's keyword-only arguments use only numbers,
names of `typing` and `pydantic`, and ranges (`edgemate.config.ranges`). If they use anything else, the caller has to
import the module.
"""

from __future__ import annotations

import ast
import builtins
import importlib
from collections.abc import Callable
from typing import Any

from edgemate.config.module_source import read_source

_LIGHT = ("collections", "math", "pydantic", "typing")
_PACKAGE = __name__.partition(".")[0]
_OWN_LIGHT = (f"{_PACKAGE}.config.ranges",)
"""Modules of this package that an annotation may use: they are imported, and import nothing heavy themselves."""
_PLAIN = (
    ast.Attribute,
    ast.BinOp,
    ast.Call,
    ast.Constant,
    ast.Dict,
    ast.Expression,
    ast.List,
    ast.Name,
    ast.Subscript,
    ast.Tuple,
    ast.UnaryOp,
    ast.expr_context,
    ast.keyword,
    ast.operator,
    ast.unaryop,
)


def stand_in(module: str, attribute: str) -> Callable[..., Any] | None:
    """A function with the name, docstring and keyword-only arguments of a factory, or of a class's constructor.

    Its annotations and defaults equal those of the factory.

    Args:
        module: of the factory; it is not imported.
        attribute: name of the factory in the module.

    Returns:
        The function, which does nothing; None if the arguments cannot be read from the source.
    """
    try:
        home, definition, function = _signature(module, attribute)
        made = _with_options_of(home, function, definition.name)
    except _UnclearError:
        return None
    made.__doc__ = ast.get_docstring(definition, clean=False)
    return made


def class_constant(module: str, attribute: str, name: str) -> Any:
    """The constant value of a class attribute, inherited ones included. Raises LookupError if it is not constant."""
    try:
        home, definition = _definition(module, attribute)
        while isinstance(definition, ast.ClassDef):
            for statement in definition.body:
                target = statement.targets[0] if isinstance(statement, ast.Assign) else None
                target = statement.target if isinstance(statement, ast.AnnAssign) else target
                value = getattr(statement, "value", None)
                if isinstance(target, ast.Name) and target.id == name and isinstance(value, ast.Constant):
                    return value.value
            home, definition = _base(home, definition)
    except _UnclearError:
        pass
    raise LookupError(f"{module}:{attribute}: {name} is not a constant in the source")


def argument_annotation(module: str, attribute: str, argument: str) -> Any:
    """The annotation of any argument of a factory; None if it has none.

    Raises:
        LookupError: it cannot be read from the source.
    """
    try:
        home, _, function = _signature(module, attribute)
        given = function.args
        for candidate in (*given.posonlyargs, *given.args, *given.kwonlyargs):
            if candidate.arg == argument and candidate.annotation is not None:
                code = compile(ast.Expression(candidate.annotation), f"<{home}>", "eval")
                return eval(code, _values_in(home, candidate.annotation))
    except _UnclearError as error:
        raise LookupError(
            f"{module}:{attribute}: the annotation of {argument} cannot be read from the source"
        ) from error
    return None


class _UnclearError(Exception):
    """The source is not simple enough to be read."""


def _definition(module: str, name: str) -> tuple[str, ast.FunctionDef | ast.ClassDef]:
    """The module of the only, undecorated definition of a name, and that definition."""
    source = read_source(module)
    statement = source.bound.get(name) if source else None
    if isinstance(statement, ast.ImportFrom):
        return _definition(*_origin(statement, name))
    if not isinstance(statement, (ast.FunctionDef, ast.ClassDef)) or statement.decorator_list:
        raise _UnclearError
    if isinstance(statement, ast.ClassDef) and statement.keywords:
        raise _UnclearError
    return module, statement


def _signature(module: str, name: str) -> tuple[str, ast.FunctionDef | ast.ClassDef, ast.FunctionDef]:
    """The module and definition of a factory, and the function that has its arguments: its constructor for a class."""
    home, definition = _definition(module, name)
    if isinstance(definition, ast.FunctionDef):
        return home, definition, definition
    home, function = _constructor(home, definition)
    return home, definition, function


def _constructor(module: str, definition: ast.ClassDef) -> tuple[str, ast.FunctionDef]:
    for statement in definition.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            if statement.decorator_list:
                raise _UnclearError
            return module, statement
    home, base = _base(module, definition)
    if not isinstance(base, ast.ClassDef):
        raise _UnclearError
    return _constructor(home, base)


def _base(module: str, definition: ast.ClassDef) -> tuple[str, ast.FunctionDef | ast.ClassDef]:
    """The module and definition of the only base class."""
    if len(definition.bases) != 1 or not isinstance(definition.bases[0], ast.Name):
        raise _UnclearError
    return _definition(module, definition.bases[0].id)


def _with_options_of(module: str, function: ast.FunctionDef, name: str) -> Callable[..., Any]:
    given = function.args
    wanted = ast.arguments(
        posonlyargs=[],
        args=[],
        vararg=None,
        kwonlyargs=given.kwonlyargs,
        kw_defaults=given.kw_defaults,
        kwarg=None if given.kwarg is None else ast.arg(given.kwarg.arg),
        defaults=[],
    )
    annotations = [argument.annotation for argument in given.kwonlyargs]
    if any(annotation is None or _is_text(annotation) for annotation in annotations):
        raise _UnclearError
    namespace: dict[str, Any] = {}
    for expression in (*annotations, *given.kw_defaults):
        if expression is not None:
            namespace |= _values_in(module, expression)
    exec(f"def {name}({ast.unparse(wanted)}): ...", namespace)  # every node of it has been checked
    made: Callable[..., Any] = namespace[name]
    return made


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _values_in(module: str, expression: ast.expr) -> dict[str, Any]:
    """The values of all names in an expression."""
    nodes = list(ast.walk(expression))
    if not all(isinstance(node, _PLAIN) for node in nodes):
        raise _UnclearError
    return {node.id: _value(module, node.id) for node in nodes if isinstance(node, ast.Name)}


def _value(module: str, name: str) -> Any:
    source = read_source(module)
    if source is None:
        raise _UnclearError
    if name not in source.bound:
        if source.dynamic or not hasattr(builtins, name):
            raise _UnclearError
        return getattr(builtins, name)
    statement = source.bound[name]
    if isinstance(statement, ast.ImportFrom):
        home, original = _origin(statement, name)
        if home.partition(".")[0] in _LIGHT or home in _OWN_LIGHT:
            return getattr(importlib.import_module(home), original)
        return _value(home, original)
    if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
        code = compile(ast.Expression(statement.value), f"<{module}>", "eval")
        return eval(code, _values_in(module, statement.value))
    raise _UnclearError


def _origin(statement: ast.ImportFrom, name: str) -> tuple[str, str]:
    """Module and original name of what `from … import` binds; only from this package and light modules."""
    home = statement.module or ""
    if statement.level or home.partition(".")[0] not in (*_LIGHT, _PACKAGE):
        raise _UnclearError
    original = next(alias.name for alias in statement.names if (alias.asname or alias.name) == name)
    return home, original
