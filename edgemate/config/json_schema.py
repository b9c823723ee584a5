"""The recipe's JSON Schema for editors, with the options of every registered part."""

from __future__ import annotations

from typing import Any

from edgemate.config.options import part_options
from edgemate.config.parts import LISTS, SLOTS
from edgemate.config.schema import Recipe
from edgemate.registry import Registry


def recipe_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a recipe, `extends` included.

    Names are suggested, not enforced, since a dotted path is valid too; the schema of options depends on the name.
    """
    schema = Recipe.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["properties"] = {
        "extends": {"type": "string", "description": "A recipe that this one is merged over."}
    } | schema["properties"]
    # Sections may come from the extended file.
    schema.pop("required", None)
    definitions = schema["$defs"]
    for slot in SLOTS:
        definition = definitions[_class_of(slot.section)]
        definition.pop("required", None)
        given = definition["properties"][slot.key]
        optional = [kind for kind in given.get("anyOf", []) if kind == {"type": "null"}]
        definition["properties"][slot.key] = {"anyOf": [*_names(slot.registry), *optional]} | {
            key: value for key, value in given.items() if key in ("default", "description")
        }
        for name in slot.registry.names():
            condition = {"properties": {slot.key: {"const": name}}, "required": [slot.key]}
            consequence = {"properties": {slot.options_key: _options(slot.registry, name, definitions)}}
            definition.setdefault("allOf", []).append({"if": condition, "then": consequence})
    for listed in LISTS:
        parts = definitions[_class_of(listed.section)]["properties"][listed.key]
        parts = next((kind for kind in parts.get("anyOf", []) if "items" in kind), parts)
        parts["items"] = _part(listed.registry, parts["items"], definitions)
    return schema


def _class_of(section: str) -> str:
    return section.rpartition(".")[2].capitalize()


def _names(registry: Registry) -> list[dict[str, Any]]:
    pattern = "|".join([":", *(f"^{prefix}." for prefix in registry.libraries())])
    return [{"enum": registry.names()}, {"type": "string", "pattern": pattern}]


def _options(registry: Registry, name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    options = part_options(registry, name).model_json_schema()
    definitions.update(options.pop("$defs", {}))
    return options


def _part(registry: Registry, written_out: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A name, `{name: options}`, or a mapping with name and options."""
    options = {name: _options(registry, name, definitions) for name in registry.names()}
    short = {
        "type": "object",
        "properties": {name: {"anyOf": [one, {"type": "null"}]} for name, one in options.items()},
        "patternProperties": {":": {"type": ["object", "null"]}},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    follow = [
        {
            "if": {"properties": {"name": {"const": name}}, "required": ["name"]},
            "then": {"properties": {"options": one}},
        }
        for name, one in options.items()
    ]
    named = {"properties": {"name": {"anyOf": _names(registry)}}, "allOf": follow}
    return {"anyOf": [*_names(registry), short, {"allOf": [written_out, named]}]}
