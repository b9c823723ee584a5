"""Fixtures for every test, and what must be set before torch is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from edgemate import plug_ins, timing

if TYPE_CHECKING:
    from edgemate.exporting import Exported
    from edgemate.runs import Run

# Several test processes share the machine; pools of spinning threads would starve each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples on every run; and no time limit, which would fail a test for what else the machine does.
settings.register_profile("edgemate", derandomize=True, deadline=None)
settings.load_profile("edgemate")


@pytest.fixture(autouse=True)
def own_modules_unloaded(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Unload the modules that a test wrote, and search its folders no more: the next may reuse their names."""
    path, loaded = list(sys.path), set(sys.modules)
    monkeypatch.setattr(plug_ins, "_beside", [])
    monkeypatch.setattr(plug_ins, "_named", set())
    monkeypatch.setattr(plug_ins, "_searched", [])
    yield
    sys.path[:] = path
    folder = tmp_path_factory.getbasetemp()
    written = [name for name in set(sys.modules) - loaded if _lies_in(folder, name)]
    for name in written:
        del sys.modules[name]


def _lies_in(folder: Path, module: str) -> bool:
    file = getattr(sys.modules[module], "__file__", None)
    places = [file] if file else list(getattr(sys.modules[module], "__path__", ()))
    return any(Path(place).is_relative_to(folder) for place in places)


@pytest.fixture(autouse=True)
def short_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that runs several tests at once times do not settle, and warming up would take its longest."""
    monkeypatch.setattr(timing, "MAX_WARMUP_SECONDS", 0.1)


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


@pytest.fixture(scope="session", autouse=True)
def own_ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the list of what was built here out of the user's data folder, in processes that tests start too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEMATE_TRUST", str(tmp_path_factory.mktemp("trust")))
        yield
