"""A run folder from its first file on: what a start that was killed leaves, and two trainings at once."""

from __future__ import annotations

import errno
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from edgemate import swapping
from edgemate.distributed.world import ALONE
from edgemate.errors import RunError
from edgemate.runs import Run
from edgemate.training import train
from edgemate.training.beginning import Place
from edgemate.training.run_place import check_run_place
from recipes import small_recipe

RECIPE = small_recipe("optimization.epochs=1", "data.train_limit=64")
OTHER = small_recipe("optimization.epochs=1", "data.train_limit=64", "optimization.lr=0.01")

# Of Python 3.12 and later; the forks do nothing but the call, and end.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def screen() -> Console:
    return Console(file=io.StringIO(), width=300)


def write_recipe(run: Run) -> None:
    run.write_recipe(RECIPE)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(OTHER, tmp_path_factory.mktemp("runs") / "run", console=screen())


@pytest.fixture
def own(trained: Run, tmp_path: Path) -> Run:
    return Run(Path(shutil.copytree(trained.path, tmp_path / "run")))


@pytest.fixture(params=["absent", "empty", "a part of the recipe", "all but the recipe"])
def killed_start(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A run folder as a start leaves it that is killed before the folder is a run."""
    path = tmp_path / "run"
    if request.param != "absent":
        path.mkdir()
    if request.param == "a part of the recipe":
        (path / ".recipe.yaml.k3_vq9xz.part").write_text("data: {na")
    if request.param == "all but the recipe":
        for name in (".lock", "environment.json", "plug_ins.json"):
            (path / name).write_text("{}")
    return path


@pytest.mark.parametrize(("resume", "replace"), [(False, False), (True, False), (False, True)])
def test_where_a_start_was_killed_a_run_begins(killed_start: Path, resume: bool, replace: bool) -> None:
    assert check_run_place(RECIPE, killed_start, resume=resume, replace=replace)
    place = Place(killed_start, ALONE)
    opened, _ = place.resume(RECIPE) if resume else (None, None)
    assert opened is None
    run = place.begin(write_recipe, replace=replace)
    place.close()
    assert run.read_recipe() == RECIPE
    assert run.environment_path.is_file()
    assert not any(path.name.endswith(".part") for path in run.path.iterdir())


def test_a_folder_with_a_file_of_somebody_else_is_no_killed_start(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("x")
    for options in ({}, {"resume": True}, {"replace": True}):
        with pytest.raises(RunError):
            check_run_place(RECIPE, tmp_path / "run", **options)
    assert (tmp_path / "run" / "precious.txt").read_text() == "x"


def test_a_run_that_was_killed_before_its_environment_was_written_gets_it(own: Run) -> None:
    own.environment_path.unlink()  # which earlier versions wrote after the recipe
    own.metrics_path.unlink()
    train(OTHER, own.path, resume=True, console=screen())
    assert own.environment_path.is_file()


def test_a_run_is_replaced_at_once(own: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = swapping.put_in_place, []

    def put(new: Path, target: Path) -> None:
        seen.append((Run.open(target).read_recipe(), Run.open(new, finished=False).read_recipe()))
        real(new, target)

    monkeypatch.setattr("edgemate.training.beginning.put_in_place", put)
    place = Place(own.path, ALONE)
    run = place.begin(write_recipe, replace=True)
    place.close()
    assert seen == [(OTHER, RECIPE)], "the old run was whole until the new one took its place"
    assert not run.finished
    assert [path.name for path in own.path.parent.iterdir()] == ["run"]


def test_where_no_folder_can_take_its_place_a_run_is_deleted_in_it(own: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(new: Path, target: Path) -> None:
        raise OSError(16, "Device or resource busy", str(target))  # of a mounted folder

    monkeypatch.setattr("edgemate.training.beginning.put_in_place", refuse)
    place = Place(own.path, ALONE)
    run = place.begin(write_recipe, replace=True)
    place.close()
    assert run.read_recipe() == RECIPE
    assert sorted(path.name for path in run.path.iterdir()) == [".lock", "environment.json", "recipe.yaml"]


HOLD = """
import sys, time
from pathlib import Path
from edgemate.locks import lock_file
with lock_file(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_training_of_a_run_is_refused_with_the_process_of_the_first(
    own: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgemate.training.beginning._WAIT_SECONDS", 0.1)
    own.metrics_path.unlink()
    with subprocess.Popen([sys.executable, "-c", HOLD, str(own.path)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            for options in ({"resume": True}, {"replace": True}):
                with pytest.raises(RunError, match=rf"process {process.pid} on .* is training this run; wait until"):
                    check_run_place(OTHER, own.path, **options)
                with pytest.raises(RunError, match=rf"process {process.pid} "):
                    train(OTHER, own.path, console=screen(), **options)
        finally:
            process.kill()
    assert train(OTHER, own.path, resume=True, console=screen()).finished


def test_two_trainings_that_begin_at_the_same_time_write_two_runs_or_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run"
    codes = []
    children = []
    for _ in range(4):
        child = os.fork()
        if not child:
            place, code = Place(path, ALONE), 7
            try:
                place.begin(write_recipe, replace=False)
                code = 0
            except RunError:
                code = 2
            finally:
                os._exit(code)  # with the lock, as a kill
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert sorted(codes) == [0, 2, 2, 2]
    assert Run.open(path, finished=False).read_recipe() == RECIPE


def test_what_a_killed_training_had_still_to_delete_is_deleted(own: Run) -> None:
    own.progress_path.write_text("{}")
    (own.path / "cache" / "key").mkdir(parents=True)
    train(OTHER, own.path, resume=True, console=screen())
    assert not own.progress_path.exists()
    assert not (own.path / "cache").exists()


def test_on_a_full_disk_the_old_run_stays(own: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(new: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr("edgemate.training.beginning.put_in_place", full)
    place = Place(own.path, ALONE)
    with pytest.raises(OSError, match="No space left"):
        place.begin(write_recipe, replace=True)
    place.close()
    assert Run.open(own.path).read_recipe() == OTHER
    assert [path.name for path in own.path.parent.iterdir()] == ["run"]


def test_a_link_to_a_run_stays_one(own: Run) -> None:
    link = own.path.parent / "link"
    link.symlink_to(own.path)
    place = Place(link, ALONE)
    place.begin(write_recipe, replace=True)
    place.close()
    assert link.is_symlink()
    assert Run.open(own.path, finished=False).read_recipe() == RECIPE
    assert sorted(path.name for path in own.path.parent.iterdir()) == ["link", "run"]
