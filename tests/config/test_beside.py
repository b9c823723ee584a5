"""Modules beside the recipe: found without PYTHONPATH, last on the path, and again from the run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from edgemate.config import load_recipe
from edgemate.config.module_source import why_missing
from edgemate.errors import RecipeError, UsageError
from edgemate.registry import HEADS, SCHEDULES
from edgemate.runs import Run

TREE = {"data": {"name": "digits"}, "model": {"backbone": "resnet8"}, "optimization": {"epochs": 2}}
TEXT = "def steady(epochs, *, factor: float = 1.0):\n    '''Always the same.'''\n    return lambda position: factor\n"


def write(folder: Path, schedule: str, module: str = "own_steady.py", text: str = TEXT, **options: object) -> Path:
    """A recipe with this schedule, and the module beside it."""
    (folder / module).parent.mkdir(parents=True, exist_ok=True)
    (folder / module).write_text(text)
    section = {**TREE["optimization"], "schedule": schedule, "schedule_options": options}
    (folder / "r.yaml").write_text(yaml.safe_dump(TREE | {"optimization": section}))
    return folder / "r.yaml"


@pytest.mark.parametrize("module", ["own_steady", "own_package.parts"])
def test_a_module_beside_the_recipe_is_found(tmp_path: Path, module: str) -> None:
    path = write(tmp_path, f"{module}:steady", module.replace(".", "/") + ".py", factor=0.5)
    assert load_recipe(path).optimization.schedule_options == {"factor": 0.5}
    assert sys.path[-1] == str(tmp_path)


def test_a_recipe_without_dotted_paths_leaves_the_search_path_alone(tmp_path: Path) -> None:
    before = list(sys.path)
    load_recipe(write(tmp_path, "cosine"))
    assert sys.path == before


def test_the_folder_of_an_extended_file_is_searched_after_the_recipes_own(tmp_path: Path) -> None:
    write(tmp_path / "base", "own_steady:steady")
    (tmp_path / "r.yaml").write_text("extends: base/r.yaml\n")
    assert load_recipe(tmp_path / "r.yaml").optimization.schedule_options == {"factor": 1.0}
    assert sys.path[-2:] == [str(tmp_path), str(tmp_path / "base")]


def test_options_are_read_without_importing_it(tmp_path: Path) -> None:
    path = write(tmp_path, "own_steady:steady", factor="much")
    with pytest.raises(RecipeError, match=r"schedule_options\.factor: should be a valid number"):
        load_recipe(path)
    assert "own_steady" not in sys.modules


def test_an_argument_that_is_not_keyword_only_is_an_option_where_it_is_given(tmp_path: Path) -> None:
    text = "class Odd: ...\ndef steady(epochs, factor=1.0, *, kind=Odd, **more):\n    return lambda position: factor\n"
    assert load_recipe(write(tmp_path, "own_steady:steady", text=text)).optimization.schedule_options == {}
    given = load_recipe(write(tmp_path, "own_steady:steady", text=text, factor=2, extra=3))
    assert given.optimization.schedule_options == {"factor": 2, "extra": 3}


def test_an_installed_module_of_the_same_name_wins_and_that_is_said(tmp_path: Path) -> None:
    path = write(tmp_path, "yaml:steady", "yaml.py")
    with pytest.raises(RecipeError, match=r"yaml\.py is not used, as an installed module has its name: rename it"):
        load_recipe(path)


def test_where_it_was_searched_is_said(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, "own_stedy:steady"))
    assert f"No module named 'own_stedy'; searched in {tmp_path} and on Python's path" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_modules_of_one_name_beside_two_recipes_are_not_mixed_up(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    load_recipe(write(first, "own_steady:steady"))
    write(second, "own_steady:steady")
    with pytest.raises(RecipeError) as caught:
        load_recipe(second / "r.yaml")
    assert f"{first / 'own_steady.py'} is loaded already, and {second / 'own_steady.py'} has" in str(caught.value)
    load_recipe(first / "r.yaml")
    assert why_missing("own_steady", "steady") is None


READ = """
import sys
from edgemate.errors import EdgemateError
from edgemate.runs import Run
try:
    print(Run(sys.argv[1]).read_recipe().optimization.schedule_options)
except EdgemateError as error:
    print(error)
"""


def test_a_run_finds_the_modules_again_or_says_where_they_were(tmp_path: Path) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    elsewhere.mkdir()
    run = Run.create(project / "runs" / "one")
    run.write_recipe(load_recipe(write(project, "own_steady:steady", factor=0.25)))
    assert json.loads(run.plug_ins_path.read_text())["folders"][0]["from_run"] == "../.."

    def read(path: Path) -> str:
        program = [
            sys.executable,
            "-c",
            READ.replace("Run(sys.argv[1])", "Run(__import__('pathlib').Path(sys.argv[1]), allow_plugins=True)"),
        ]
        told = subprocess.run([*program, str(path)], cwd=elsewhere, capture_output=True, text=True, check=True)
        return told.stdout.strip()

    assert read(run.path) == "{'factor': 0.25}"
    project.rename(tmp_path / "moved")  # with the run
    assert read(tmp_path / "moved" / "runs" / "one") == "{'factor': 0.25}"
    shutil.move(tmp_path / "moved" / "runs" / "one", elsewhere / "one")
    said = read(elsewhere / "one")
    assert "No module named 'own_steady'; searched in" in said
    assert f"{project} (not there any more)" in said
    assert "\n" not in said


def test_a_recipe_of_registered_parts_stores_no_folders(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run")
    run.write_recipe(load_recipe(write(tmp_path / "project", "cosine")))
    assert not run.plug_ins_path.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "raise RuntimeError('no weights\\nhere')\ndef steady(): ...",
            "RuntimeError: no weights here (own_steady.py, line 1)",
        ),
        ("x = 1\nsteady = nonsense", "NameError: name 'nonsense' is not defined (own_steady.py, line 2)"),
        ("steady = 3", "schedule 'own_steady:steady' is a int; it must be a class or a function"),
        ("other = 3", "module 'own_steady' has no attribute 'steady'"),
        ("import no_such_thing\ndef steady(e): ...", "No module named 'no_such_thing' (own_steady.py, line 1)"),
    ],
)
def test_what_a_module_does_wrong_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, "own_steady:steady", text=text))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def raising(*_: object, **__: object) -> None:
    raise KeyError("weights")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("test_parts:nothing", "returns nothing; it must return builtins.int"),
        ("test_parts:text", "returns a str; it must return builtins.int"),
        ("test_parts:raising", "fails: KeyError: 'weights'"),
        ("test_parts:none", "fails: TypeError: "),
    ],
)
def test_what_a_factory_makes_is_checked(name: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("test_parts")
    vars(module).update(nothing=lambda *_: None, text=lambda *_: "x", raising=raising, none=lambda: 1)
    monkeypatch.setitem(sys.modules, "test_parts", module)
    with pytest.raises(UsageError) as caught:
        HEADS.make(name, int, "tap")
    assert f"head {name!r} {said}" in str(caught.value)


def test_a_registered_factory_raises_what_it_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCHEDULES._targets, "broken", f"{__name__}:raising")
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or type(sys)(__name__))
    vars(sys.modules[__name__]).setdefault("raising", raising)
    with pytest.raises(KeyError):
        SCHEDULES.make("broken", object, 1)
