from __future__ import annotations

from typing import Any

import pytest

from edgemate.comparison import parse_variants
from edgemate.comparison.variants import Part, parse_variant
from edgemate.errors import RecipeError, UsageError

TREE: dict[str, Any] = {
    "data": {"name": "digits"},
    "model": {"backbone": "resnet8"},
    "distillation": {"method": "mate", "options": {"alpha": 2.0}},
    "optimization": {"epochs": 2},
    "training": {"seed": 7, "precision": "bf16"},
}


@pytest.mark.parametrize(
    ("label", "parts"),
    [
        ("mate", [Part("mate", {})]),
        ("mate:proximity=0;alpha=2", [Part("mate", {"proximity": 0, "alpha": 2})]),
        ("mate+byot:alpha=0.2", [Part("mate", {}), Part("byot", {"alpha": 0.2})]),
        ("mate+0.5*byot", [Part("mate", {}), Part("byot", {}, 0.5)]),
        ("mate:alpha=1.0e+3", [Part("mate", {"alpha": 1000.0})]),
        ("rco:anchors=[1, 2]", [Part("rco", {"anchors": [1, 2]})]),
        ("my_pkg.my_mod:Factory", [Part("my_pkg.my_mod:Factory", {})]),
        ("my_pkg.my_mod:Factory:rate=1", [Part("my_pkg.my_mod:Factory", {"rate": 1})]),
        ("kd:place=a:b", [Part("kd", {"place": "a:b"})]),
    ],
)
def test_a_label_is_parsed_into_methods_options_and_weights(label: str, parts: list[Part]) -> None:
    assert list(parse_variant(label).parts) == parts


def test_commas_part_labels_but_not_lists() -> None:
    found = parse_variants("mate, rco:anchors=[1,2],byot")
    assert [variant.label for variant in found] == ["mate", "rco:anchors=[1,2]", "byot"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "write NAME"),
        ("mate,,byot", "write NAME"),
        ("mate:", "write NAME"),
        ("mate:alpha=1;beta", "'beta' is not OPTION=VALUE"),
        ("mate:alpha=1;alpha=2", "alpha is given twice"),
        ("mate:alpha=[1", "value of alpha is not valid YAML"),
        ("0.5*mate", "a weight needs a second method"),
        ("mate+1.2.3*byot", "'1.2.3' is not a weight"),
        ("mate,byot,mate", "is given twice"),
        ("mate:alpha=1,mate;alpha=1", "write NAME"),
    ],
)
def test_an_invalid_label_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_variants(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_make_file_names_that_differ() -> None:
    assert parse_variant("mate:alpha=[1, 2];start=2").folder == "mate_alpha=_1_2_start=2"
    with pytest.raises(UsageError, match="is given twice"):
        parse_variants("mate:alpha=[1],mate:alpha={1}")


def test_only_the_objective_and_the_seed_differ() -> None:
    one, other = parse_variant("joint_ce").recipe(TREE, 0), parse_variant("byot:alpha=0.3").recipe(TREE, 0)
    assert one.training.seed == 0
    assert one.distillation.method == "joint_ce"
    assert other.distillation.options["alpha"] == 0.3
    assert other.distillation.options["temperature"] == 3.0
    assert one.model_dump() | {"distillation": None} == other.model_dump() | {"distillation": None}


def test_the_recipes_own_method_lends_its_options() -> None:
    assert parse_variant("mate").recipe(TREE, 0).distillation.options["alpha"] == 2.0
    assert parse_variant("mate:alpha=3").recipe(TREE, 0).distillation.options["alpha"] == 3.0
    unnamed = TREE | {"distillation": {"options": {"alpha": 2.0}}}  # mate, which is the default
    assert parse_variant("mate").recipe(unnamed, 0).distillation.options["alpha"] == 2.0
    assert parse_variant("dml").recipe(unnamed, 0).distillation.names == ["dml"]


def test_several_methods_are_summed_with_their_weights() -> None:
    section = parse_variant("joint_ce+0.5*byot:alpha=0.3+gradient_equilibrium").recipe(TREE, 0).distillation
    assert section.method is None
    assert [(part.name, part.weight) for part in section.methods or []] == [
        ("joint_ce", 1.0),
        ("byot", 0.5),
        ("gradient_equilibrium", 1.0),
    ]
    assert section.methods is not None
    assert section.methods[1].options["alpha"] == 0.3


def test_a_recipe_of_several_methods_may_be_compared_with_one() -> None:
    several = TREE | {"distillation": {"methods": ["joint_ce", "gradient_equilibrium"]}}
    assert parse_variant("mate").recipe(several, 0).distillation.names == ["mate"]


def test_unknown_methods_and_options_name_the_label() -> None:
    with pytest.raises(RecipeError, match=r"methods mat: .*did you mean 'mate'"):
        parse_variant("mat").recipe(TREE, 0)
    with pytest.raises(RecipeError, match=r"methods mate:alhpa=1: distillation.options.alhpa: unknown key"):
        parse_variant("mate:alhpa=1").recipe(TREE, 0)


def test_a_teacher_stays_for_the_methods_that_learn_from_one() -> None:
    tree = TREE | {"distillation": {"method": "joint_ce", "teacher": "runs/x"}}
    kept = {label: parse_variant(label).recipe(tree, 0).distillation.teacher for label in ("joint_ce", "kd", "mate+kd")}
    assert kept == {"joint_ce": None, "kd": "runs/x", "mate+kd": "runs/x"}


@pytest.mark.parametrize("section", [5, "x", [1], True, {"options": 5}, {"options": [1]}])
def test_a_section_that_is_no_mapping_is_refused_like_any_recipe(section: Any) -> None:
    with pytest.raises(RecipeError, match=r"methods mate: distillation(\.options)?: should be"):
        parse_variant("mate").recipe(TREE | {"distillation": section}, 0)
