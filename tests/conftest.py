"""Fixtures of several rooms, and what must be set before torch is imported."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from edgemate.exporting import Exported
    from edgemate.runs import Run

# Several test processes share the machine; pools of spinning threads would starve each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples on every run; and no time limit, which would fail a test for what else the machine does.
settings.register_profile("edgemate", derandomize=True, deadline=None)
settings.load_profile("edgemate")


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small finished run on the digits; tests must not change it."""
    import runs

    return runs.make_run(tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(scope="session")
def exported(finished_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Its bundle; tests must not change it."""
    from edgemate.exporting import export_run

    return export_run(finished_run, tmp_path_factory.mktemp("bundles") / "tiny")
