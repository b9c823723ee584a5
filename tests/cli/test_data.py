from __future__ import annotations

import json
from pathlib import Path

import pytest
from toy_data import write_folders
from typer.testing import CliRunner, Result

from edgemate.cli.data import data
from edgemate.errors import DataError

RECIPE = """
data: {{name: image_folder, image_size: 8, options: {{path: {path}}}}}
model: {{backbone: resnet8}}
optimization: {{epochs: 1}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split, count in (("train", 12), ("test", 3)):
        write_folders(tmp_path / "images" / split, per_class=count)
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(path=tmp_path / "images"))
    return tmp_path / "images"


def check(folder: Path, *arguments: str) -> Result:
    runner = CliRunner(env={"COLUMNS": "200"})
    return runner.invoke(data, ["check", str(folder.parent / "recipe.yaml"), *arguments])


def test_whole_data_ends_with_0_and_a_table(folder: Path) -> None:
    result = check(folder)
    assert result.exit_code == 0, result.output
    for expected in (
        "calibration",
        "cat",
        "stored as: 30 PNG RGB",
        "damaged: none",
        "cat (3 in test)",
        "balance in test: cat 3",
    ):
        assert expected in result.output


def test_every_damaged_file_is_named_and_the_exit_code_is_1(folder: Path) -> None:
    damaged = sorted((folder / "train" / "cat").iterdir())
    for path in damaged:
        path.write_text("no image")
    result = check(folder)
    assert result.exit_code == 1
    assert "damaged: 12" in result.output
    assert all(f"{path}: is not an image that Pillow can read" in result.output for path in damaged)
    result = check(folder, "--json")
    assert result.exit_code == 1
    assert {entry["image"] for entry in json.loads(result.stdout)["damaged"]} == set(map(str, damaged))


def test_a_damaged_file_is_one_line_whatever_its_name(folder: Path) -> None:
    next(folder.rglob("*.png")).with_name("line\nend.png").touch()
    assert "line\\nend.png: is not an image that Pillow can read" in check(folder).output


def test_a_setting_may_be_laid_over_the_recipe(folder: Path) -> None:
    (folder / "test" / "cat" / "0.png").write_text("no image")
    result = check(folder, "--set", "data.skip_damaged=true")
    assert result.exit_code == 0, result.output
    assert "left out by skip_damaged: 1" in result.output


def test_data_that_is_not_there_is_an_error_of_the_user(folder: Path) -> None:
    result = check(folder, "--set", "data.options.path=nowhere")
    assert isinstance(result.exception, DataError)
