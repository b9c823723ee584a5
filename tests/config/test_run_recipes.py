"""Reading somebody's run runs no code: its recipe names registered parts only, unless the user allows its plug-ins."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import invoke

from edgemate import api, plug_ins
from edgemate.cli.data import check
from edgemate.cli.export import export
from edgemate.cli.images import images
from edgemate.cli.inspect import inspect
from edgemate.cli.profile import profile
from edgemate.cli.recipes import validate
from edgemate.config import load_recipe
from edgemate.errors import EdgemateError, RecipeError
from edgemate.runs import Run
from recipes import SMALL

PLANTED = """
import pathlib
pathlib.Path(__file__).with_name("ran").write_text("")

def data(*, seed: int = 0): ...
def steady(epochs): ...
"""


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that leaves a file where it is imported; on Python's path, and in the run's folder."""
    (tmp_path / "planted.py").write_text(PLANTED)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "ran"


def strange_run(folder: Path, **sections: Any) -> Path:
    """A run whose recipe was edited by hand, with what training writes beside it."""
    folder.mkdir()
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**SMALL, **sections}))
    (folder / "environment.json").write_text("{}")
    return folder


WAYS: list[dict[str, Any]] = [
    {"data": {"name": "planted:data"}},
    {"model": {"backbone": "planted:data"}},
    {"exits": {"head": "planted:data"}},
    {"distillation": {"method": "planted:data"}},
    {"distillation": {"methods": ["planted:data"]}},
    {"distillation": {"methods": [{"name": "planted:data", "weight": 1.0}]}},
    {"optimization": {**SMALL["optimization"], "optimizer": "planted:data"}},
    {"optimization": {**SMALL["optimization"], "schedule": "planted:steady"}},
    {"data": {**SMALL["data"], "augmentation": ["planted:data"]}},
    {"data": {**SMALL["data"], "augmentation": [{"name": "planted:data"}]}},
    {"data": {**SMALL["data"], "unlabeled": {"name": "planted:data"}}},
    {"data": {**SMALL["data"], "unlabeled": {"corruptions": ["planted:data"]}}},
]


@pytest.mark.parametrize("sections", WAYS, ids=str)
def test_whatever_key_names_code_it_is_not_imported(tmp_path: Path, planted: Path, sections: dict[str, Any]) -> None:
    run = Run.open(strange_run(tmp_path / "run", **sections), finished=False)
    with pytest.raises(RecipeError):
        run.read_recipe()
    with pytest.raises(RecipeError):
        load_recipe(run.recipe_path)
    assert not planted.exists()
    assert "planted" not in sys.modules


@pytest.mark.parametrize(
    "read",
    [
        lambda run: invoke(inspect, run),
        lambda run: invoke(images, run / "recipe.yaml"),
        lambda run: invoke(check, run / "recipe.yaml"),
        lambda run: invoke(validate, run / "recipe.yaml"),
    ],
    ids=["inspect", "images", "data check", "recipes validate"],
)
def test_commands_name_what_they_do_not_import(
    tmp_path: Path, planted: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    result = read(strange_run(tmp_path / "run", optimization={**SMALL["optimization"], "schedule": "planted:steady"}))
    assert isinstance(result.exception, RecipeError)
    assert str(result.exception).endswith(
        "recipe.yaml: optimization.schedule: 'planted:steady' is code, which a run does not bring unasked; "
        "`allow_plugins`, or EDGEMATE_ALLOW_PLUGINS=1, lets it be imported"
    )
    assert not planted.exists()


def test_profile_and_export_of_a_run(finished_run: Run, tmp_path: Path, planted: Path) -> None:
    run = Path(shutil.copytree(finished_run.path, tmp_path / "run"))
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    recipe["optimization"]["schedule"] = "planted:steady"
    recipe["optimization"]["schedule_options"] = {}
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    for command, arguments in ((profile, ()), (export, ("--output", tmp_path / "bundle"))):
        result = invoke(command, run, *arguments)
        assert isinstance(result.exception, EdgemateError), result.output
        assert "'planted:steady' is code" in str(result.exception)
    assert not planted.exists()
    allowed = api.inspect(run, allow_plugins=True)
    assert allowed.recipe.optimization.schedule == "planted:steady"
    assert planted.exists()


def test_a_word_for_one_run_is_none_for_another(tmp_path: Path, planted: Path) -> None:
    sections = {"optimization": {**SMALL["optimization"], "schedule": "planted:steady"}}
    Run.open(strange_run(tmp_path / "one", **sections), finished=False, allow_plugins=True).read_recipe()
    with pytest.raises(RecipeError, match="is code"):
        Run.open(strange_run(tmp_path / "two", **sections), finished=False).read_recipe()
    assert not plug_ins.are_allowed_in_runs()


def test_what_the_users_own_recipe_names_may_be_named_by_a_run(tmp_path: Path, planted: Path) -> None:
    """So the user's training resumes without another word; the folder of the run is not searched for it."""
    sections = {"optimization": {**SMALL["optimization"], "schedule": "planted:steady"}}
    run = strange_run(tmp_path / "run", **sections)
    (run / "planted.py").write_text("raise SystemExit('the module of the run was imported')")
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump({**SMALL, **sections}))
    load_recipe(own)
    assert Run.open(run, finished=False).read_recipe().optimization.schedule == "planted:steady"
    assert str(run) not in sys.path


def test_the_variable_says_the_same_as_the_flag(tmp_path: Path, planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = strange_run(tmp_path / "run", optimization={**SMALL["optimization"], "schedule": "planted:steady"})
    monkeypatch.setenv("EDGEMATE_ALLOW_PLUGINS", "0")
    assert isinstance(invoke(inspect, run).exception, RecipeError)
    monkeypatch.setenv("EDGEMATE_ALLOW_PLUGINS", "1")
    assert Run.open(run, finished=False).read_recipe()


def test_a_runs_recipe_names_no_other_file(tmp_path: Path) -> None:
    run = strange_run(tmp_path / "run", extends="../own.yaml")
    (tmp_path / "own.yaml").write_text("{}")
    with pytest.raises(RecipeError, match="extends: the recipe of a run is whole"):
        Run.open(run, finished=False).read_recipe()


def test_a_recipe_of_ones_own_may_extend_a_run_of_registered_parts(tmp_path: Path, planted: Path) -> None:
    strange_run(tmp_path / "run")
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump({"extends": "run/recipe.yaml", "optimization": {"schedule": "planted:steady"}}))
    assert load_recipe(own).optimization.schedule == "planted:steady"
    strange_run(tmp_path / "other", optimization={**SMALL["optimization"], "schedule": "planted:data"})
    own.write_text(yaml.safe_dump({"extends": "other/recipe.yaml"}))
    with pytest.raises(RecipeError, match=r"other/recipe\.yaml: optimization\.schedule: 'planted:data' is code"):
        load_recipe(own)
