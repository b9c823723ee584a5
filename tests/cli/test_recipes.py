import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from edgemate.cli.main import app
from edgemate.config.shipped import run_name, shipped_recipes
from edgemate.errors import RecipeError, UsageError

RUNNER = CliRunner()


def invoke(*arguments: str) -> str:
    result = RUNNER.invoke(app, ["recipes", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_list_tells_what_each_shipped_recipe_is_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")  # a narrow terminal cuts nothing off
    told = {line.split()[0]: line.split()[1:] for line in invoke("list").splitlines()}
    assert set(told) == {"recipe", *shipped_recipes()}
    assert told["cifar100/mobilenet_v2_mate"] == ["mobilenet_v2", "200", "mate"]
    assert told["small/cifar100_resnet8_imta"] == ["resnet8", "10", "last_exit", "+", "gradient_equilibrium"]


def test_show_prints_the_file_and_resolved_every_default() -> None:
    assert invoke("show", "digits/resnet8_mate").startswith("# edgemate train recipes/digits/resnet8_mate.yaml")
    resolved = yaml.safe_load(invoke("show", "digits/resnet8_mate", "--resolved", "--set", "optimization.lr=0.5"))
    assert resolved["distillation"]["options"]["primary"] == 0.7
    assert resolved["optimization"]["lr"] == 0.5


def test_copy_gives_a_recipe_that_stands_alone(tmp_path: Path) -> None:
    invoke("copy", "fashion_mnist/resnet8_joint_ce", str(tmp_path / "mine.yaml"))
    assert "good" in invoke("validate", str(tmp_path / "mine.yaml"))
    with pytest.raises(UsageError, match="exists; choose another name"):
        invoke("copy", "fashion_mnist/resnet8_joint_ce", str(tmp_path / "mine.yaml"))


def test_validate_also_asks_the_parts(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"exits\.at: unknown cut point 'stage9'"):
        invoke("validate", "digits/resnet8_mate", "--set", "exits.at=[stage9]")


def test_schema_is_json() -> None:
    assert json.loads(invoke("schema"))["properties"]["data"]


def test_runs_are_named_after_the_recipes_place() -> None:
    assert run_name(Path("recipes/digits/resnet8_mate.yaml")) == "digits-resnet8_mate"
    assert run_name(Path("mine.yaml")) == run_name(Path("../mine.yaml")) == "mine"
    assert run_name(Path("recipes/mine.yaml")) == "mine"
