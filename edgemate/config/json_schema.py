"""The recipe's JSON Schema, for editors: with the options of every registered part."""

from __future__ import annotations

from typing import Any

from edgemate.config.options import options_model
from edgemate.config.parts import SLOTS
from edgemate.config.schema import Recipe


def recipe_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a recipe, `extends` included.

    Names are offered, not enforced, since a dotted path may stand there too; options follow the name.
    """
    schema = Recipe.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["properties"] = {"extends": {"type": "string", "description": "A recipe this one is laid over."}} | schema[
        "properties"
    ]
    # Sections may come from the extended file.
    schema.pop("required", None)
    for slot in SLOTS:
        definition = schema["$defs"][slot.section.capitalize()]
        definition.pop("required", None)
        names = slot.registry.names()
        definition["properties"][slot.key] = {"anyOf": [{"enum": names}, {"type": "string", "pattern": ":"}]} | {
            key: value for key, value in definition["properties"][slot.key].items() if key in ("default", "description")
        }
        for name in names:
            options = options_model(slot.registry.get(name)).model_json_schema()
            schema["$defs"].update(options.pop("$defs", {}))
            condition = {"properties": {slot.key: {"const": name}}, "required": [slot.key]}
            consequence = {"properties": {slot.options_key: options}}
            definition.setdefault("allOf", []).append({"if": condition, "then": consequence})
    return schema
