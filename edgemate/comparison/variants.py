"""Methods of a comparison as text: `mate`, `mate:proximity=0;alpha=2`, `mate+gradient_equilibrium`, `mate+0.5*kd`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgemate.config import Distillation, Recipe, parse_recipe
from edgemate.config.merging import merge
from edgemate.config.yaml_text import parse_yaml
from edgemate.distillation.teachers.reference import learns_from_teacher
from edgemate.errors import UsageError

_FORM = "write NAME, NAME:OPTION=VALUE;OPTION=VALUE, or several joined by +, each with an optional WEIGHT* before it"
# A comma or plus inside a value, such as [1,2] or 1e+3, does not split.
_COMMA = re.compile(r",(?![^\[{]*[\]}])")
_PLUS = re.compile(r"\+(?=(?:[\d.]+\*)?[A-Za-z_])")
_WEIGHT = re.compile(r"([\d.]+)\*(.*)", re.DOTALL)


@dataclass(frozen=True)
class Part:
    """A registered method (or a dotted path) with options, and its weight in the sum of losses."""

    name: str
    options: dict[str, Any]
    weight: float = 1.0


@dataclass(frozen=True)
class Variant:
    """One row of a comparison.

    Attributes:
        label: the text that the user wrote.
        parts: one method, or several whose losses are summed.
    """

    label: str
    parts: tuple[Part, ...] = field(hash=False)

    @property
    def folder(self) -> str:
        """The label as a file name."""
        return re.sub(r"[^\w.+=-]+", "_", self.label)

    @property
    def needs_teacher(self) -> bool:
        """Whether one of the methods learns from another network."""
        return any(_needs_teacher(part.name) for part in self.parts)

    def inherits(self, method: str | None) -> bool:
        """Whether the options of a recipe with this method apply too."""
        return len(self.parts) == 1 and self.parts[0].name == method

    def recipe(self, tree: Mapping[str, Any], seed: int) -> Recipe:
        """The recipe of one run.

        The label's options override the method's defaults. If the recipe has this method alone, its options apply
        too. The recipe's teacher is kept for methods that learn from one.

        Args:
            tree: the recipe that all variants share, as nested mappings, not yet checked.
            seed: seeds weights, order and augmentation; the splits keep `data.split_seed`.

        Raises:
            RecipeError: the method or an option is unknown, or the recipe is not valid with it.
        """
        section = tree.get("distillation") or {}
        changed = [section, tree.get("training") or {}]
        if isinstance(section, Mapping):
            changed.append(section.get("options") or {})
        if not all(isinstance(one, Mapping) for one in changed):
            return parse_recipe(tree, f"methods {self.label}")  # which says what is wrong with it
        shared = dict(section)
        named = method_of(section)
        options = shared.pop("options", None)
        for key in ("method", "methods"):
            shared.pop(key, None)
        if len(self.parts) == 1:
            (part,) = self.parts
            inherited = options if self.inherits(named) else None
            shared |= {"method": part.name, "options": {**(inherited or {}), **part.options}}
        else:
            shared["methods"] = [
                {"name": part.name, "weight": part.weight, "options": part.options} for part in self.parts
            ]
        if not self.needs_teacher:
            shared.pop("teacher", None)
        whole = merge({**tree, "distillation": shared}, {"training": {"seed": seed}})
        return parse_recipe(whole, f"methods {self.label}")


def method_of(section: Mapping[str, Any]) -> str | None:
    """The method of a recipe's distillation section that is not checked yet; None where there are several."""
    default = None if section.get("methods") else Distillation.model_fields["method"].default
    found: str | None = section.get("method", default)
    return found


def parse_variants(text: str) -> list[Variant]:
    """Read a list of variants, comma-separated.

    Raises:
        UsageError: the text is empty, an entry is not of that form, or two are the same.
    """
    variants = [parse_variant(entry.strip()) for entry in _COMMA.split(text)]
    known: dict[str, str] = {}
    for variant in variants:
        if variant.folder in known:
            raise UsageError(f"methods {variant.label}: is given twice (also as {known[variant.folder]})")
        known[variant.folder] = variant.label
    return variants


def parse_variant(label: str) -> Variant:
    """Read one variant. Raises UsageError if it is not of that form."""
    parts = tuple(_part(text.strip(), label) for text in _PLUS.split(label))
    if len(parts) == 1 and parts[0].weight != 1:
        raise UsageError(f"methods {label}: a weight needs a second method")
    return Variant(label, parts)


def _needs_teacher(name: str) -> bool:
    try:
        return learns_from_teacher(name)
    except UsageError:  # an unknown method, which the check of the recipe reports
        return False


def _part(text: str, label: str) -> Part:
    weight = 1.0
    weighted = _WEIGHT.fullmatch(text)
    if weighted:
        weight, text = _number(weighted[1], label), weighted[2]
    # A dotted path has a colon of its own: options begin after the last one before the first equals sign.
    before, equals, _ = text.partition("=")
    name, colon, _ = before.rpartition(":") if equals else (text, "", "")
    given = text[len(name) + 1 :] if colon else ""
    if not name or "=" in name or any(character.isspace() for character in name) or name.endswith(":"):
        raise UsageError(f"methods {label!r}: {_FORM}")
    return Part(name, _options(given, label), weight)


def _options(text: str, label: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for entry in text.split(";") if text else []:
        option, equals, value = entry.partition("=")
        option = option.strip()
        if not equals or not option:
            raise UsageError(f"methods {label!r}: {entry!r} is not OPTION=VALUE; {_FORM}")
        if option in options:
            raise UsageError(f"methods {label!r}: {option} is given twice")
        try:
            options[option] = parse_yaml(value)
        except ValueError as error:
            raise UsageError(f"methods {label!r}: the value of {option} is not valid YAML: {value!r}") from error
    return options


def _number(text: str, label: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"methods {label!r}: {text!r} is not a weight; {_FORM}") from error
