from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edgemate.config import load_recipe, parse_recipe
from edgemate.config.fitting import fit_to_epochs
from edgemate.errors import RecipeError

SMALLEST: dict[str, Any] = {"data": {"name": "digits"}, "model": {"backbone": "resnet8"}}


def write(folder: Path, **optimization: Any) -> Path:
    path = folder / "r.yaml"
    path.write_text(yaml.safe_dump({**SMALLEST, "optimization": optimization}))
    return path


def test_a_warm_up_is_shortened_with_the_epochs_and_reported(tmp_path: Path) -> None:
    notes: list[str] = []
    path = write(tmp_path, epochs=100, warmup_epochs=5)
    recipe = load_recipe(path, ["optimization.epochs=1"], notify=notes.append)
    assert recipe.optimization.warmup_epochs == 0.05
    assert notes == ["optimization.warmup_epochs: 5 does not end within 1 epoch; 0.05 is used"]
    assert load_recipe(path, ["optimization.epochs=6"], notify=notes.append).optimization.warmup_epochs == 5, "it fits"
    assert len(notes) == 1


@pytest.mark.parametrize("overrides", [[], ["optimization.epochs=2", "optimization.warmup_epochs=3"]])
def test_a_warm_up_that_never_fitted_is_set_to_half_of_the_epochs(tmp_path: Path, overrides: list[str]) -> None:
    notes: list[str] = []
    recipe = load_recipe(write(tmp_path, epochs=2, warmup_epochs=2), overrides, notify=notes.append)
    assert recipe.optimization.warmup_epochs == 1
    assert len(notes) == 1


def test_milestones_are_scaled_with_the_epochs(tmp_path: Path) -> None:
    notes: list[str] = []
    path = write(tmp_path, epochs=200, schedule="multi_step", schedule_options={"milestones": [100, 150]})
    recipe = load_recipe(path, ["optimization.epochs=2"], notify=notes.append)
    assert recipe.optimization.schedule_options["milestones"] == [1, 1.5]
    assert notes == [
        "optimization.schedule_options.milestones: 100, 150 of 200 epochs become 1, 1.5 of 2 epochs",
    ]
    given = ["optimization.epochs=2", "optimization.schedule_options.milestones=[7]"]
    assert load_recipe(path, given, notify=notes.append).optimization.schedule_options["milestones"] == [7]
    assert len(notes) == 1


@given(
    epochs=st.integers(1, 400),
    warmup=st.floats(0, 1000),
    over=st.one_of(st.none(), st.integers(1, 400)),
    milestones=st.lists(st.floats(0.5, 300), min_size=1, max_size=4),
)
def test_a_warm_up_always_ends_and_what_fits_is_left(
    epochs: int, warmup: float, over: int | None, milestones: list[float]
) -> None:
    optimization = {"epochs": epochs, "warmup_epochs": warmup, "schedule_options": {"milestones": milestones}}
    laid_over = {} if over is None else {"optimization": {"epochs": over}}
    merged = {"optimization": {**optimization, **laid_over.get("optimization", {})}}
    fitted, notes = fit_to_epochs(merged, {"optimization": optimization}, laid_over)
    now = fitted["optimization"]
    assert now["warmup_epochs"] < now["epochs"]
    assert fit_to_epochs(fitted)[1] == []
    if max(milestones) < epochs:
        assert max(now["schedule_options"]["milestones"]) <= now["epochs"]
    if warmup < now["epochs"] > max(milestones):
        assert (fitted, notes) == (merged, [])


@pytest.mark.parametrize("section", [None, [], {"epochs": "three"}, {"epochs": 0}, {"epochs": 1, "warmup_epochs": "x"}])
def test_mistakes_are_left_to_validation(section: Any) -> None:
    tree = {**SMALLEST, "optimization": section}
    assert fit_to_epochs(tree) == (tree, [])


@pytest.mark.parametrize("value", ["5", "x", "[1]", "true", "null"])
def test_an_override_that_is_no_mapping_is_left_to_validation(tmp_path: Path, value: str) -> None:
    path = write(tmp_path, epochs=5)
    given = ["optimization.epochs=2", f"optimization.schedule_options={value}"]
    with pytest.raises(RecipeError, match=r"optimization\.schedule_options: "):
        load_recipe(path, given)


def test_the_recipe_has_the_fitted_values() -> None:
    recipe = parse_recipe({**SMALLEST, "optimization": {"epochs": 3, "warmup_epochs": 5}}, "r.yaml")
    assert recipe.optimization.warmup_epochs == 1.5
    assert parse_recipe(recipe.model_dump(mode="json"), "r.yaml") == recipe
