"""The run of the tests always ends, and names a test whose process was ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BOUNDED = Path(__file__).parent / "support" / "bounded.py"
ROOT = Path(__file__).parents[1]


def heed_interrupts() -> None:
    """In the child, also where these tests run in the background, which ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def bounded(minutes: float, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BOUNDED), str(minutes), *command],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        preexec_fn=heed_interrupts,
    )


def test_the_exit_code_is_the_commands() -> None:
    assert bounded(1, sys.executable, "-c", "raise SystemExit(3)").returncode == 3


def test_what_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    child = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    result = bounded(0.05, sys.executable, "-c", parent)
    assert result.returncode == 1
    assert "not finished within 0.05 minutes" in result.stderr
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the child goes on")


@pytest.mark.parametrize("how", ["os.abort()", "os._exit(0)", "time.sleep(600)"])
def test_a_test_process_that_ends_or_hangs_is_a_named_failure(tmp_path: Path, how: str) -> None:
    pytest.importorskip("xdist")
    (tmp_path / "test_it.py").write_text(
        f"import os, time\ndef test_before(): pass\ndef test_ends_its_process(): {how}\ndef test_after(): pass\n"
    )
    options = (
        "-n 2 --dist loadfile --max-worker-restart 0 -p no:cacheprovider "
        f"-c {ROOT / 'pyproject.toml'} --rootdir {tmp_path} --timeout 3 test_it.py"
    )
    started = time.monotonic()
    result = bounded(1, sys.executable, "-m", "pytest", *options.split(), cwd=tmp_path)
    assert result.returncode == 1, result.stdout
    assert "test_ends_its_process" in result.stdout
    assert time.monotonic() - started < 50
