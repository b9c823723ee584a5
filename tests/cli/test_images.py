from __future__ import annotations

import numpy as np
import pytest
import typer
from PIL import Image
from toy_data import archive
from typer.testing import CliRunner

from edgemate.cli.images import images
from edgemate.data.datasets.digits import digits
from edgemate.errors import UsageError

RECIPE = """
data: {name: digits}
model: {backbone: resnet8}
optimization: {epochs: 1}
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def run(*arguments):
    app = typer.Typer()
    app.command()(images)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_real_images_of_every_class_are_written_as_they_are(recipe, tmp_path):
    result = run(recipe, "--count", 20, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "20 test images of digits" in result.output
    files = sorted((tmp_path / "out").iterdir())
    assert len(files) == 20
    source = digits()
    labels = []
    for file in files:
        index, label = file.stem.split("_")
        assert source.classes[source.test.labels[int(index)]] == label
        with Image.open(file) as image:
            np.testing.assert_array_equal(np.asarray(image), source.test.array[int(index), ..., 0])
        labels.append(label)
    assert all(labels.count(name) == 2 for name in source.classes)


def test_the_split_can_be_chosen_and_the_recipe_overridden(recipe, tmp_path):
    result = run(
        recipe, "--split", "train", "--count", 99, "--set", "data.train_limit=10", "--output", tmp_path / "out"
    )
    assert "10 train images" in result.output
    assert len(list((tmp_path / "out").iterdir())) == 10


def test_class_names_that_no_file_can_have_are_spelled_otherwise(recipe, tmp_path):
    path = archive(tmp_path / "a.npz", classes=np.array(["T-shirt/top", "../b", "c d"]))
    settings = ["--set", "data.name=arrays", "--set", f"data.options.path={path}"]
    assert run(recipe, *settings, "--count", 3, "--output", tmp_path / "out").exit_code == 0
    labels = {file.stem.split("_")[1] for file in (tmp_path / "out").iterdir()}
    assert labels == {"T-shirt-top", "..-b", "c-d"}


def test_a_folder_that_is_not_empty_is_left_alone_unless_forced(recipe, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    result = run(recipe, "--output", tmp_path / "out")
    assert isinstance(result.exception, UsageError)
    assert "is not empty" in str(result.exception)
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["mine.txt"]
    assert run(recipe, "--output", tmp_path / "out", "--force").exit_code == 0
    assert len(list((tmp_path / "out").iterdir())) == 21


def test_a_file_in_the_way_is_named(recipe):
    assert "is a file" in str(run(recipe, "--output", recipe).exception)
