"""The recipe that comparisons are tested with."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from recipes import SMALL


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return path
