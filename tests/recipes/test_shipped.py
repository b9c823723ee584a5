import pytest

from edgemate.config import load_recipe
from edgemate.config.shipped import shipped_recipes
from edgemate.training import check_recipe

RECIPES = shipped_recipes()


@pytest.mark.parametrize("name", RECIPES)
def test_every_shipped_recipe_holds_together(name: str) -> None:
    check_recipe(load_recipe(RECIPES[name]), name)


@pytest.mark.parametrize("name", RECIPES)
def test_the_first_line_is_the_command_that_runs_it(name: str) -> None:
    first = RECIPES[name].read_text().splitlines()[0]
    assert first == f"# edgemate train recipes/{name}.yaml"
