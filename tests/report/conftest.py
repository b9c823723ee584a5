from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import browser, missing
from profiles import write_profile_json

from edgemate.report import write_report
from edgemate.runs import Run


@pytest.fixture(scope="package")
def profiled(finished_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A copy of the small run with a profile; tests must not change it."""
    run = Run(Path(shutil.copytree(finished_run.path, tmp_path_factory.mktemp("report") / "my run")))
    write_profile_json(run, warnings=["a warning of the measurement"])
    return run


@pytest.fixture(scope="package")
def page(profiled: Run) -> Path:
    """Its report."""
    import json

    path = profiled.path / "report.html"
    write_report([profiled], [json.loads(profiled.profile_path.read_text())], path, profiled.path / "curves")
    return path


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """One browser for all tests, which is ended after them."""
    lacking = missing()
    if lacking:
        pytest.skip(lacking)
    with browser() as driver:
        yield driver
