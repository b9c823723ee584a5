from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgemate.comparison.place import check_nobody_compares_in, comparing_in
from edgemate.errors import RunError

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
