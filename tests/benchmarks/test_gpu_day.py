"""benchmarks/gpu/day.sh, as far as it goes without a GPU and without minutes of training."""

from __future__ import annotations

import io
import itertools
import os
import random
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest
from scripts import BENCHMARKS

DAY = BENCHMARKS / "gpu" / "day.sh"


def day(folder: Path, *words: str, check: bool = True, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHON": sys.executable, "KIT": str(folder / "kit"), "KEEP": str(folder / "keep")}
    environment |= settings
    return subprocess.run([str(DAY), *words], env=environment, capture_output=True, text=True, check=check)


def part(folder: Path, name: str, mib: int = 0, sums: str = "") -> None:
    group = folder / "kit" / "parts" / name.split(".")[0]
    group.mkdir(parents=True, exist_ok=True)
    (group / name).write_bytes(bytes(mib << 20))
    (group / "SHA256SUMS").write_text(sums)


def plans_in(said: str) -> list[list[tuple[float, float, str]]]:
    """Of every timetable its rows: when they begin, how long they take, and what they are."""
    tables = said.split(" at  |")[1:]
    rows = [re.findall(r"^ *([\d.]+) \| *([\d.]+)  \| (.*?) +\|", table, re.MULTILINE) for table in tables]
    return [[(float(at), float(takes), what) for at, takes, what in table] for table in rows]


@pytest.mark.parametrize(("minutes", "days"), [("30", 1), ("15", 2)])
def test_a_timetable_has_no_gaps_no_long_steps_and_ends_in_time(tmp_path: Path, minutes: str, days: int) -> None:
    plans = plans_in(day(tmp_path, "--timetable", MINUTES=minutes).stdout)
    assert len(plans) == days
    for rows in plans:
        assert sum(takes for _, takes, _ in rows) == pytest.approx(float(minutes))
        for (at, takes, _), (begins, _, _) in itertools.pairwise(rows):
            assert takes <= 10
            assert at + takes == pytest.approx(begins)


def test_a_timetable_tells_the_size_of_the_parts(tmp_path: Path) -> None:
    part(tmp_path, "data.00", 2)
    part(tmp_path, "data.01", 1)
    said = day(tmp_path, "--timetable").stdout
    assert re.search(r"data: CIFAR-100 +\| +2 \| +3\.0$", said, re.MULTILINE)
    assert "not prepared" in said
    assert "upload altogether: 3.0 MiB in 2 parts" in said


def test_there_is_no_plan_for_other_minutes(tmp_path: Path) -> None:
    done = day(tmp_path, "--timetable", MINUTES="20", check=False)
    assert done.returncode == 2
    assert "there is a plan for 30, and one for 15" in done.stderr


def test_a_damaged_part_is_refused(tmp_path: Path) -> None:
    part(tmp_path, "data.00", sums="0" * 64 + "  data.00\n")
    done = day(tmp_path, "data", check=False)
    assert done.returncode != 0
    assert "data.00: FAILED" in done.stdout


def test_parts_are_taken_to_where_they_last_as_they_come(tmp_path: Path) -> None:
    part(tmp_path, "data.00", 1)
    day(tmp_path, "take")
    (tmp_path / "kit" / "parts" / "data" / "data.00").unlink()  # the next command brings another
    part(tmp_path, "data.01", 1)
    said = day(tmp_path, "take").stdout
    assert {"data.00", "data.01"} <= set(said.split())


def test_a_failed_step_brings_home_what_is_finished(tmp_path: Path) -> None:
    results, run, out = tmp_path / "keep" / "results", tmp_path / "keep" / "runs" / "a_run", tmp_path / "out"
    for folder in (results, run / "checkpoints"):
        folder.mkdir(parents=True)
    (results / "found.json").write_text("{}")
    (run / "speed.csv").write_text("epoch\n")
    (run / "checkpoints" / "last.ckpt").write_text("large")
    done = day(tmp_path, "data", OUT=str(out), check=False)
    assert done.returncode != 0
    assert [path.name for path in out.iterdir()] == ["results.tar.gz"]
    with tarfile.open(out / "results.tar.gz") as archive:
        names = set(archive.getnames())
    assert {"./results/found.json", "./runs/a_run/speed.csv"} <= names
    assert not any("last.ckpt" in name for name in names)


def test_a_run_comes_home_in_several_commands_within_what_one_may_bring(tmp_path: Path) -> None:
    run = tmp_path / "keep" / "runs" / "resnet18_mate-seed0"
    (run / "checkpoints").mkdir(parents=True)
    (tmp_path / "keep" / "runs" / "settings").write_text("training.compile=true\n")
    weights = random.Random(0).randbytes(5 << 20)
    (run / "checkpoints" / "last.ckpt").write_bytes(weights)  # not finished, so it comes along
    (tmp_path / "keep" / "data").mkdir()  # for the results, which are written again
    parts: dict[str, bytes] = {}
    following: list[str] = []
    for trip in range(4):
        out = tmp_path / f"out{trip}"
        limits = {"OUT": str(out), "OUT_FILE_MIB": "1", "OUT_MIB": "3", "OUT_FILES": "5"}
        said = day(tmp_path, "home", "resnet18_mate-seed0", *following, **limits).stdout
        sent = list(out.iterdir())
        assert len(sent) <= 5
        assert sum(path.stat().st_size for path in sent) <= 3 << 20
        parts |= {path.name: path.read_bytes() for path in sent if ".tar." in path.name and "results" not in path.name}
        again = re.search(r"go on: day\.sh home resnet18_mate-seed0 (\d+)", said)
        if not again:
            break
        following = [again[1]]
    assert trip == 2
    assert len(parts) == 6
    with tarfile.open(fileobj=io.BytesIO(b"".join(parts[name] for name in sorted(parts)))) as archive:
        member = archive.extractfile("resnet18_mate-seed0/checkpoints/last.ckpt")
        assert member
        assert member.read() == weights
        assert "settings" in archive.getnames()


def test_a_run_that_is_not_there_cannot_come_home(tmp_path: Path) -> None:
    done = day(tmp_path, "home", "nothing", check=False)
    assert done.returncode == 2
    assert "there is no run" in done.stderr


def test_runs_go_on_with_the_settings_that_the_probe_found_for_them(tmp_path: Path) -> None:
    (tmp_path / "keep" / "runs" / "resnet18_mate-seed0").mkdir(parents=True)
    (tmp_path / "keep" / "runs" / "settings").write_text("training.compile=true\n")
    assert "go on with that" in day(tmp_path, "probe").stdout


def test_an_unknown_step_shows_how_it_is_used(tmp_path: Path) -> None:
    done = day(tmp_path, "dance", check=False)
    assert done.returncode == 2
    assert "--timetable" in done.stdout


@pytest.mark.parametrize("folder", ["k", "k" * 100])
def test_temporary_files_lie_where_all_lasts_if_sockets_can_lie_there(folder: str) -> None:
    with tempfile.TemporaryDirectory() as short:
        keep = Path(short).resolve() / folder
        shown = subprocess.run(
            ["bash", "-euc", '. "$0"; places; settle; echo "$TMPDIR"', str(DAY.parent / "there.sh")],
            env=os.environ | {"KEEP": str(keep), "KIT": f"{short}/kit", "TMPDIR": "/tmp"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    assert shown == ("/tmp" if len(str(keep)) > 71 else str(keep / "tmp"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_whole_day_on_little_data(tmp_path: Path) -> None:
    environment = os.environ | {"KIT": str(tmp_path), "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [str(DAY), "--rehearse"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as rehearsal:
        try:
            _, told = rehearsal.communicate()
        except BaseException:
            os.killpg(rehearsal.pid, signal.SIGTERM)  # on which it ends its trainings, which killing it would leave
            raise
    if "Could not find a version" in told or "No matching distribution" in told:
        pytest.skip("the package index cannot be reached, so no wheels can be collected")
    assert rehearsal.returncode == 0, told[-2000:]
    results = {path.name for path in (tmp_path / "rehearsed" / "keep" / "results").iterdir()}
    assert {
        "probe.json",
        "cifar100_resnet18.json",
        "cifar100_resnet18.md",
        "early_exit_torch_cpu.json",
        "train_throughput_cpu.json",
        "step_cost_cpu.json",
    } <= results
