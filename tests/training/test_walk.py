"""How many files a reader opens to follow a recipe to its optimizer. docs/architecture.md says the figures."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from torch.optim import Optimizer
from walk import files_called

from edgemate.config import Distillation, Exits, Model, Optimization, Recipe, load_recipe
from edgemate.training import train
from edgemate.training.task import MultiExitTask
from recipes import SMALL

MAX_FILES = 10
NETWORK_SECTIONS = (Model, Exits, Distillation, Optimization)


class Arrived(Exception):  # noqa: N818 - it is no error
    """The optimizer is there."""


def test_from_a_recipe_to_the_optimizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure = MultiExitTask.configure_optimizers

    def stop(task: MultiExitTask) -> None:
        configure(task)
        raise Arrived

    monkeypatch.setattr(MultiExitTask, "configure_optimizers", stop)
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))

    def walk() -> None:
        with pytest.raises(Arrived):
            train(load_recipe(path), tmp_path / "run")

    files = files_called(walk, (Recipe, *NETWORK_SECTIONS, Optimizer))
    assert {"config/loading.py", "training/trainer.py", "training/task.py", "training/optimizers.py"} <= set(files)
    assert len(files) <= MAX_FILES, files


def test_only_files_that_the_value_passes_through_are_counted() -> None:
    recipe = Recipe.model_validate(SMALL)

    def walk() -> None:
        from edgemate.wording import counted

        counted(3, "file")
        assert recipe.distillation.names

    assert "wording.py" in files_called(walk)
    assert files_called(walk, (Distillation,)) == ["config/schema.py"]
    assert files_called(walk, (Optimization,)) == []
