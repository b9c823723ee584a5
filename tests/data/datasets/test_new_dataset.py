"""A new dataset is one file and one registry line, or a dotted path: both are used from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import invoke
from typer.testing import CliRunner

from edgemate.cli.data import data
from edgemate.cli.train import train
from edgemate.errors import DataError, RecipeError
from edgemate.registry import DATASETS
from edgemate.runs import Run

MODULE = '''
"""Horizontal and vertical stripes."""

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from edgemate.data import ArrayImages, DataSource
from edgemate.errors import DataError


def stripes(*, images: Annotated[int, Field(ge=4)] = 24, marker: str) -> DataSource:
    """Gray stripes, 8 x 8 pixels.

    Args:
        images: in each split.
        marker: a file that must exist.
    """
    labels = np.arange(images, dtype=np.int64) % 2
    pixels = np.zeros((images, 8, 8, 1), np.uint8)
    pixels[labels == 0, ::2] = 255
    pixels[labels == 1, :, ::2] = 255
    both = ArrayImages(pixels, labels)
    return DataSource("stripes", ("horizontal", "vertical"), 1, both, both, (8, 8))


def check_stripes(*, marker: str, **_: object) -> None:
    """Raise DataError where the marker is missing."""
    if not Path(marker).exists():
        raise DataError(f"{marker}: no such file")
'''
LINE = "striped_package.stripes:stripes"


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one file, in a package that can be imported."""
    folder = tmp_path / "packages" / "striped_package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "stripes.py").write_text(MODULE)
    monkeypatch.syspath_prepend(folder.parent)


@pytest.fixture(params=["stripes", LINE], ids=["registered", "dotted path"])
def recipe(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe that names the dataset; the registered name has the one registry line."""
    if request.param == "stripes":
        monkeypatch.setitem(DATASETS._targets, "stripes", LINE)
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"data: {{name: '{request.param}', options: {{marker: {path}}}, calibration_fraction: 0.25}}\n"
        "model: {backbone: resnet8, options: {width: 4}}\n"
        "distillation: {method: joint_ce}\n"
        "optimization: {epochs: 1, batch_size: 8}\n"
    )
    return path


@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
def test_it_trains(recipe: Path, tmp_path: Path) -> None:
    result = invoke(train, recipe, "--output", tmp_path / "run", "--quiet")
    assert result.exception is None, result.output
    run = Run.open(tmp_path / "run")
    assert run.read_metadata().classes == ("horizontal", "vertical")
    assert len(run.read_logits("test").labels) == 24


def test_it_is_checked(recipe: Path) -> None:
    result = CliRunner().invoke(data, ["check", str(recipe), "--set", "data.options.images=8", "--json", "--quiet"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["splits"]["test"] == {
        "images": 8,
        "per_class": {"horizontal": 4, "vertical": 4},
    }


def test_missing_files_and_options_are_found_before_training(recipe: Path, tmp_path: Path) -> None:
    result = invoke(train, recipe, "--output", tmp_path / "run", "--set", "data.options.marker=nowhere.txt")
    assert isinstance(result.exception, DataError)
    assert str(result.exception) == "nowhere.txt: no such file"
    result = invoke(train, recipe, "--output", tmp_path / "run", "--set", "data.options.imges=8")
    assert isinstance(result.exception, RecipeError)
    assert "data.options.imges: unknown key; did you mean 'images'" in str(result.exception)
