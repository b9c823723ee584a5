from __future__ import annotations

import statistics
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemate.comparison import parse_variants
from edgemate.comparison.search import ROUND, Search
from edgemate.comparison.settings import RATE, described, search_space, value_at, with_setting
from edgemate.config import Recipe, Tune
from edgemate.config.options import part_options
from edgemate.config.tuning import option_ranges
from edgemate.distillation import Setting
from edgemate.registry import METHODS
from recipes import SMALL, small_recipe

pytest.importorskip("optuna", reason="Optuna is not installed")

SPACE = {"rate": Tune(0.01, 1.0, log=True), "weight": Tune(0.0, 2.0), "count": Tune(1, 9)}
OWN = {"rate": 0.1, "weight": 1.0, "count": 3}


def score(setting: dict[str, float]) -> float:
    """Something to maximize."""
    found = {**OWN, **setting}
    return 1 - abs(found["rate"] - 0.5) / 2 - abs(found["weight"] - 1.5) / 10 - abs(found["count"] - 7) / 100


def searched(budget: int, seed: int = 0) -> list[dict[str, float]]:
    search, tried = Search(SPACE, OWN, seed), list[dict[str, float]]()
    while len(tried) < budget:
        asked = search.ask(min(ROUND, budget - len(tried)))
        search.tell([score(setting) for setting in asked])
        tried += asked
    return tried


@settings(max_examples=10)
@given(st.integers(1, 14), st.integers(0, 100))
def test_a_longer_search_begins_like_a_shorter_one_with_the_recipes_own_setting(budget: int, seed: int) -> None:
    tried = searched(budget, seed)
    assert tried[0] == {}
    assert searched(14, seed)[:budget] == tried
    for setting in tried[1:]:
        assert 0.01 <= setting["rate"] <= 1
        assert 0 <= setting["weight"] <= 2
        assert setting["count"] in range(1, 10)


def test_results_guide_the_search() -> None:
    scores = [score(setting) for setting in searched(60)]
    assert statistics.fmean(scores[-20:]) > statistics.fmean(scores[1:9]) + 0.05


def test_a_setting_that_diverged_does_not_end_the_search() -> None:
    search = Search(SPACE, {"rate": 0.1})  # an option without a value of its own
    for _ in range(4):
        search.tell([None if setting.get("rate", 0) > 0.2 else 0.5 for setting in search.ask(ROUND)])


def space_of(label: str, *overrides: str) -> dict[str, Tune]:
    (variant,) = parse_variants(label)
    return search_space(variant, recipe_of(label, *overrides))


def recipe_of(label: str, *overrides: str) -> Recipe:
    (variant,) = parse_variants(label)
    return variant.recipe(small_recipe(*overrides).model_dump(mode="json"), 0)


def test_the_learning_rate_is_searched_for_every_method_and_what_the_label_sets_is_not() -> None:
    assert set(space_of("joint_ce")) == {RATE}
    ours = space_of("mate")
    assert {RATE, "distillation.options.alpha", "distillation.options.temperature"} <= set(ours)
    assert set(space_of("mate:alpha=2")) == set(ours) - {"distillation.options.alpha"}
    several = space_of("mate:alpha=2+0.5*last_exit")
    assert "distillation.methods.1.options.weight" in several
    assert "distillation.methods.0.options.alpha" not in several


def test_the_range_of_the_learning_rate_is_around_the_recipes() -> None:
    for optimizer, rate in (("sgd", 0.1), ("adamw", 0.004), ("timm/lion", 0.001)):
        found = space_of("joint_ce", f"optimization.lr={rate}", f"optimization.optimizer={optimizer}")[RATE]
        assert found.log
        assert (found.low, found.high) == (pytest.approx(rate / 5), pytest.approx(rate * 5))


def test_a_range_is_widened_to_include_the_recipes_own_value() -> None:
    wide = space_of("mate", "distillation.method=mate", "distillation.options.alpha=50")
    assert wide["distillation.options.alpha"].high == 50
    assert Tune(1, 4).around(9) == Tune(1, 9)
    assert Tune(0.1, 1.0, log=True).around(0.0) == Tune(0.1, 1.0, log=True)  # no log range includes 0


def test_a_term_that_the_recipe_turns_off_stays_off() -> None:
    off = "distillation.options.proximity"
    space = space_of("mate", "distillation.method=mate", f"{off}=0")
    assert off not in space
    own = {key: value_at(recipe_of("mate").model_dump(mode="json"), key) for key in space}
    search = Search(space, own)
    search.tell([0.5] * len(search.ask(ROUND)))  # Optuna refuses values that are not in their range


@pytest.mark.parametrize("name", ["loth", "beed"])
@pytest.mark.parametrize("exits", [1, 2, 3, 4, 9, 30])
def test_a_range_that_depends_on_the_number_of_exits_is_accepted_to_its_ends(name: str, exits: int) -> None:
    declared = option_ranges(METHODS, name)["balance"].around(1.0, exits)
    assert declared.high > declared.low
    setting = Setting(exits, 5, tuple([8] * exits))
    for value in (declared.low, declared.high):
        METHODS.get(name)(setting, balance=float(f"{value:.4g}"))


@pytest.mark.parametrize(
    ("section", "exits"),
    [
        ({"at": ["stage1", "stage3"]}, 2),
        ({}, 3),
        ({"at": "auto", "count": 2}, 2),
    ],
)
def test_the_range_is_that_of_the_recipes_exits(section: dict[str, Any], exits: int) -> None:
    (variant,) = parse_variants("loth")
    tree = small_recipe().model_dump(mode="json") | {"exits": {"head": "linear", **section}}
    found = search_space(variant, variant.recipe(tree, 0))["distillation.options.balance"]
    assert found.high == pytest.approx(1.9 ** (1 / exits))


@pytest.mark.parametrize("name", METHODS.names())
def test_declared_ranges_are_accepted_by_their_options_and_include_the_default(name: str) -> None:
    model = part_options(METHODS, name)
    required = {key: [1, 2] for key, field in model.model_fields.items() if field.is_required()}
    for option, declared in option_ranges(METHODS, name).items():
        default = model.model_fields[option].default
        declared = declared.around(None, 3)
        assert declared.low <= default <= declared.high, option
        for value in (declared.low, declared.high):
            model.model_validate({**required, option: value})


@pytest.mark.parametrize(("low", "high", "log"), [(1, 1, False), (2, 1, False), (0, 1, True), (-1, 1, True)])
def test_a_range_that_is_none_is_refused(low: float, high: float, log: bool) -> None:
    with pytest.raises(ValueError, match="low must be less than high"):
        Tune(low, high, log)


def test_a_setting_changes_only_its_keys() -> None:
    recipe = recipe_of("mate+0.5*last_exit")
    weight = "distillation.methods.1.options.weight"
    changed = with_setting(recipe, {RATE: 0.3, weight: 0.25}, "x", seed=7)
    assert changed.optimization.lr == 0.3
    assert changed.training.seed == 7
    assert changed.distillation.methods is not None
    assert changed.distillation.methods[1].options["weight"] == 0.25
    back = with_setting(
        changed, {RATE: SMALL["optimization"]["lr"], "distillation.methods.1.options.weight": 0.5}, "x", seed=0
    )
    assert back == recipe
    section = changed.model_dump()["distillation"]
    assert described({RATE: 0.3, weight: 0.25}, section) == "lr 0.3, last_exit.weight 0.25"
    assert described({}, section) == "the recipe's own"
