from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgemate.comparison.place import RESULTS, check_inside, check_nobody_compares_in, comparing_in
from edgemate.errors import RunError
from edgemate.runs import Run

pytest.importorskip("fcntl")

HOLD = """
import sys, time
from pathlib import Path
from edgemate.comparison.place import comparing_in
with comparing_in(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_process_at_a_time_compares_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "compared"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            with pytest.raises(RunError, match=rf"process {process.pid} on .* is writing this comparison; wait until"):
                check_nobody_compares_in(folder)
            with pytest.raises(RunError, match=f"process {process.pid}"), comparing_in(folder):
                pass
        finally:
            process.kill()
    with comparing_in(folder):
        pass


def test_leftovers_of_a_killed_comparison_go(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / ".mate-seed0.yaml.0123456789abcdef.part").write_text("half")
    (tmp_path / ".group.0123456789abcdef.part").mkdir()
    committed = tmp_path / ".group.fedcba9876543210.committed"
    committed.mkdir()
    (committed / "comparison.md").write_text("decided")
    with comparing_in(tmp_path):
        assert (tmp_path / "comparison.md").read_text() == "decided"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "comparison.md", "recipes"]
    assert list((tmp_path / "recipes").iterdir()) == []


@pytest.mark.parametrize("name", ["recipes", "logs", "trials", "mate-seed0", "logs/mate-seed0.log"])
def test_a_comparison_writes_through_no_link(tmp_path: Path, name: str) -> None:
    """A training was made, or a log and a recipe were written, where a link in somebody's folder led."""
    output, elsewhere = tmp_path / "compared", tmp_path / "elsewhere"
    (output / name).parent.mkdir(parents=True)
    (output / name).symlink_to(elsewhere)
    with pytest.raises(RunError, match=f"{output / name}: is a link; a comparison writes into its own folder only"):
        check_inside(output, [Run(output / "mate-seed0")])


@pytest.mark.parametrize("name", ["recipes", "mate-seed0", "logs/mate-seed0.log"])
def test_what_has_the_place_of_what_is_written_is_refused_at_once(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(RunError, match=f"{tmp_path / name}: is not a f[a-z]+; move it away"):
        check_inside(tmp_path, [Run(tmp_path / "mate-seed0")])


@pytest.mark.parametrize("name", RESULTS)
def test_a_folder_in_the_place_of_a_result_is_refused_before_anything_is_trained(tmp_path: Path, name: str) -> None:
    check_inside(tmp_path, [Run(tmp_path / "mate-seed0")])
    (tmp_path / name).mkdir()
    with pytest.raises(RunError, match=f"{name}: is a folder, where the comparison writes a file"):
        check_inside(tmp_path, [])
