"""The page docs/recipes.md, made of the recipe's schema and the docstrings of registered parts.

python tests/support/recipe_reference.py        # writes it; a test compares
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from edgemate.config.options import part_options
from edgemate.config.parts import LISTS, SLOTS
from edgemate.config.schema import Data, Distillation, Exits, Model, Optimization, Section, Training, Unlabeled
from edgemate.registry import Registry

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
SECTIONS: dict[str, type[Section]] = {
    "data": Data,
    "data.unlabeled": Unlabeled,
    "model": Model,
    "exits": Exits,
    "distillation": Distillation,
    "optimization": Optimization,
    "training": Training,
}
PARTS: dict[str, Registry] = {}
for slot in (*SLOTS, *LISTS):
    if slot.registry not in PARTS.values():
        PARTS[f"{slot.registry.kind.capitalize()}s (`{slot.section}.{slot.key}`)"] = slot.registry
INTRODUCTION = """# Recipes, key by key

This page is written by `python tests/support/recipe_reference.py` from the code. In a terminal, `edgemate recipes show
NAME --resolved` prints a recipe with every default, and `edgemate recipes schema` the JSON schema.

A recipe is a YAML file with one mapping per section. `extends: other.yaml` takes over another recipe, whose keys the
file overrides; `--set section.key=value` overrides a key on the command line. Only `data.name`, `model.backbone` and
`optimization.epochs` must be given. A name is one of those below, or the dotted path of a part of your own
([plug-ins.md](plug-ins.md)).
"""
USUAL = {
    "dropout": "fraction of the values before the classifier (in a WRN: inside a block) that training drops.",
    "nesterov": "use Nesterov's momentum.",
    "pretrained": "begin with torchvision's weights; an older way to write `model.weights`.",
    "stem": "`cifar` keeps the size of small images, `imagenet` reduces it.",
    "width": "channels of the first stage.",
}
"""Options that several parts have and do not describe each."""


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for name, section in SECTIONS.items():
        parts.append(f"## `{name}`\n\n{_sentence(section)}\n\n{_keys(section)}\n")
    for title, registry in PARTS.items():
        parts.append(f"## {title}\n\n{_parts(registry)}")
    return "\n".join(parts).rstrip("\n") + "\n"


def _keys(section: type[Section]) -> str:
    described = section.model_json_schema()
    lines = ["| key | values | default | |", "|---|---|---|---|"]
    for key, field in section.model_fields.items():
        schema = described["properties"][key]
        default = "**required**" if field.is_required() else _shown(field.default)
        lines.append(f"| `{key}` | {_values(schema, described)} | {default} | {_cell(field.description or '')} |")
    return "\n".join(lines)


def _parts(registry: Registry) -> str:
    """Every part; those with equal options share a table."""
    groups: dict[str, list[str]] = {}
    for name in registry.names():
        groups.setdefault(_options(registry, name), []).append(name)
    found = []
    for table, names in groups.items():
        found += [f"- **`{name}`**: {_sentence(registry.get(name))}" for name in names]
        found += ["", table, ""] if table else [""]
    return "\n".join(found)


def _options(registry: Registry, name: str) -> str:
    options = part_options(registry, name)
    if not options.model_fields:
        return ""
    meanings, described = _arguments(registry.get(name)), options.model_json_schema()
    lines = ["| option | values | default | |", "|---|---|---|---|"]
    for key, field in options.model_fields.items():
        default = "**required**" if field.is_required() else _shown(field.default)
        values = _values(described["properties"][key], described)
        lines.append(f"| `{key}` | {values} | {default} | {_cell(meanings.get(key) or USUAL.get(key, ''))} |")
    return "\n".join(lines)


def _sentence(documented: Any) -> str:
    """The first paragraph of a docstring in one line."""
    return " ".join((inspect.getdoc(documented) or "").partition("\n\n")[0].split())


def _arguments(factory: Any) -> dict[str, str]:
    """Argument → what its docstring says of it."""
    text = inspect.getdoc(factory) or ""
    block = re.search(r"^Args:\n((?:    .*\n?|\n)*)", text, re.MULTILINE)
    found: dict[str, str] = {}
    if block:
        for entry in re.split(r"^    (?=\w)", block[1], flags=re.MULTILINE):
            names, colon, meaning = entry.partition(":")
            for name in names.split(",") if colon else ():
                found[name.strip()] = " ".join(meaning.split())
    return found


def _values(schema: dict[str, Any], described: dict[str, Any]) -> str:
    return " or ".join(dict.fromkeys(_kinds(schema, described)))


def _kinds(schema: dict[str, Any], described: dict[str, Any]) -> Iterator[str]:
    if "$ref" in schema:
        yield f"a mapping (`{schema['$ref'].rpartition('/')[2]}`)"
    elif "anyOf" in schema:
        for one in schema["anyOf"]:
            if one.get("type") != "null":
                yield from _kinds(one, described)
    elif "enum" in schema or "const" in schema:
        yield ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    elif schema.get("type") == "array":
        of = schema.get("items", {})
        inner = "part" if "$ref" in of else " or ".join(_kinds(of, described)) if of else "value"
        yield f"a list: {inner}"
    elif schema.get("type") == "object":
        yield "a mapping"
    elif schema.get("type") == "boolean":
        yield "`true`, `false`"
    elif schema.get("type") in ("integer", "number"):
        yield f"{schema['type']}{_limits(schema)}"
    elif schema.get("type") == "string":
        yield "text"
    else:
        yield "any"


def _limits(schema: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    # pydantic 2.7 gives the limits of a number as floats, later ones as they are written.
    limits = {sign: schema[key] for key, sign in signs.items() if key in schema}
    found = [f"{sign} {int(limit) if limit == int(limit) else limit}" for sign, limit in limits.items()]
    return f" {', '.join(found)}" if found else ""


def _shown(default: Any) -> str:
    if default is None:
        return "absent"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, (list, tuple, dict, BaseModel)):
        return "empty" if not default or isinstance(default, BaseModel) else f"`{list(default)}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
