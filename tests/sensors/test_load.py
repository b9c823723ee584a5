from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from kernel_tree import write_tree

from edgemate.sensors.load import CpuTimes, others_cores, others_warning, parse_stat, read_cpu_times, read_load_average
from edgemate.sensors.reading import Reading

STAT = """cpu  2875360 347783 456581 1296622 9243 0 1696 2724 0 0
cpu0 1370980 160400 209978 748370 2853 0 169 1373 0 0
cpu1 1504379 187382 246602 548251 6390 0 1527 1350 0 0
intr 184467 0 0
ctxt 992810911
"""


def test_busy_time_is_that_of_all_cores_without_idle_waiting_and_stolen_time() -> None:
    assert parse_stat(STAT, 100) == (28753.60 + 3477.83 + 4565.81 + 0 + 16.96, 2)


@pytest.mark.parametrize("text", ["", "cpu  1 2 3", "intr 1 2 3"])
def test_what_is_not_such_a_file_is_unknown(text: str) -> None:
    assert parse_stat(text, 100) is None


def test_other_processes_use_what_this_one_does_not() -> None:
    before, after = CpuTimes(100.0, 10.0, 4, 50.0), CpuTimes(109.0, 13.0, 4, 54.0)
    assert others_cores(before, after) == Reading(1.5)
    assert others_cores(before, None).value is None
    # Clocks of the kernel tick 100 times a second, so that differences may be slightly negative.
    assert others_cores(before, CpuTimes(102.0, 12.1, 4, 54.0)) == Reading(0.0)


@pytest.mark.parametrize(("used", "warned"), [(0.39, False), (0.41, True), (None, False)])
def test_a_tenth_of_all_cores_is_worth_a_warning(used: float | None, warned: bool) -> None:
    warning = others_warning(Reading(used), 4)
    assert (warning is not None) is warned
    assert not warned or "other processes used 0.4 of 4 cores" in str(warning)


def test_a_busy_process_beside_this_one_is_seen() -> None:
    before = read_cpu_times()
    if before is None:
        pytest.skip("no /proc/stat here")
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            time.sleep(1.0)
            used = others_cores(before, read_cpu_times())
        finally:
            busy.kill()
    assert used.value > 0.3  # a whole core, unless others want it too, which then count as well
    assert others_warning(used, 2) is not None


def test_load_averages_are_three_numbers(tmp_path: Path) -> None:
    found = read_load_average()
    assert found.value is None or len(found.value) == 3
    assert read_cpu_times(tmp_path) is None
    assert read_cpu_times(write_tree(tmp_path, {"proc/stat": STAT})) is not None
