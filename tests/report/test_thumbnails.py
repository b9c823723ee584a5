from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from profiles import profile_json

from edgemate.report.subject import Subject
from edgemate.report.thumbnails import NoImagesError, thumbnails
from edgemate.runs import Run


def test_a_run_whose_recipe_cannot_be_read_has_no_images_to_show(finished_run: Run, tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(finished_run.path, tmp_path / "run")))
    subject = Subject.of(run, profile_json(run))
    recipe = yaml.safe_load(run.recipe_path.read_text())
    recipe["optimization"]["schedule"] = "own_schedule:falling"
    run.recipe_path.write_text(yaml.safe_dump(recipe))
    with pytest.raises(NoImagesError, match=r"The test images are not available: .*allow_plugins"):
        thumbnails(subject, np.ones(subject.images, dtype=np.intp))
