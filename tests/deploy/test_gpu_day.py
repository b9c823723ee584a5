"""deploy/gpu_kit/day.sh, without a GPU and without minutes of training."""

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
from scripts import GPU_KIT

DAY = GPU_KIT / "day.sh"


def day(folder: Path, *words: str, check: bool = True, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHON": sys.executable, "KIT": str(folder / "kit"), "KEEP": str(folder / "keep")}
    environment |= settings
    return subprocess.run([str(DAY), *words], env=environment, capture_output=True, text=True, check=check)


def part(folder: Path, name: str, mib: int = 0, sums: str = "") -> None:
    group = folder / "kit" / "parts" / name.split(".")[0]
    group.mkdir(parents=True, exist_ok=True)
    (group / name).write_bytes(bytes(mib << 20))
    (group / "SHA256SUMS").write_text(sums)


def plans_in(output: str) -> list[list[tuple[float, float, str]]]:
    """The rows of every timetable: start, duration, step."""
    tables = output.split(" at  |")[1:]
    rows = [re.findall(r"^ *([\d.]+) \| *([\d.]+)  \| (.*?) +\|", table, re.MULTILINE) for table in tables]
    return [[(float(at), float(takes), what) for at, takes, what in table] for table in rows]


@pytest.mark.parametrize(("minutes", "sessions"), [("30", 1), ("15", 2)])
def test_a_timetable_has_no_gaps_no_long_steps_and_ends_in_time(tmp_path: Path, minutes: str, sessions: int) -> None:
    plans = plans_in(day(tmp_path, "--timetable", TOTAL_MINUTES=minutes).stdout)
    assert len(plans) == sessions
    for rows in plans:
        assert sum(takes for _, takes, _ in rows) == pytest.approx(float(minutes))
        for (at, takes, _), (begins, _, _) in itertools.pairwise(rows):
            assert takes <= 10
            assert at + takes == pytest.approx(begins)


def test_a_timetable_shows_the_size_of_the_parts(tmp_path: Path) -> None:
    part(tmp_path, "data.00", 2)
    part(tmp_path, "data.01", 1)
    output = day(tmp_path, "--timetable").stdout
    assert re.search(r"data: CIFAR-100 +\| +2 \| +3\.0$", output, re.MULTILINE)
    assert "not prepared" in output
    assert "total upload: 3.0 MiB in 2 parts" in output


@pytest.mark.parametrize(("minutes", "sessions"), [("45", 1), ("20", 2)])
def test_the_longest_plan_that_fits_is_shown(tmp_path: Path, minutes: str, sessions: int) -> None:
    plans = plans_in(day(tmp_path, "--timetable", TOTAL_MINUTES=minutes).stdout)
    assert len(plans) == sessions
    assert all(rows[-1][0] + rows[-1][1] <= float(minutes) for rows in plans)


def test_there_is_no_plan_for_fewer_minutes(tmp_path: Path) -> None:
    done = day(tmp_path, "--timetable", TOTAL_MINUTES="10", check=False)
    assert done.returncode == 2
    assert "TOTAL_MINUTES=10: too short; there are plans for one session of 30 and two of 15" in done.stderr


def test_steps_longer_than_one_command_are_listed(tmp_path: Path) -> None:
    assert "longer than" not in day(tmp_path, "--timetable").stdout
    output = day(tmp_path, "--timetable", COMMAND_SECONDS="280").stdout
    assert re.search(r"^longer than COMMAND_SECONDS=280, so repeat the command: take +tensorrt$", output, re.MULTILINE)


def test_archives_are_split_at_the_upload_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(random.Random(0).randbytes(5 << 19))
    pack = '. deploy/gpu_kit/limits.sh; . deploy/gpu_kit/remote.sh; pack_parts data cat -C "$0" file'
    environment = os.environ | {"KIT": str(tmp_path / "kit"), "UPLOAD_MIB": "1"}
    subprocess.run(["bash", "-euc", pack, str(tmp_path)], env=environment, cwd=GPU_KIT.parents[1], check=True)
    sizes = [path.stat().st_size for path in sorted((tmp_path / "kit" / "parts" / "data").glob("data.*"))]
    assert sizes[:2] == [1 << 20, 1 << 20]
    assert len(sizes) == 3


def test_a_damaged_part_is_refused(tmp_path: Path) -> None:
    part(tmp_path, "data.00", sums="0" * 64 + "  data.00\n")
    done = day(tmp_path, "data", check=False)
    assert done.returncode != 0
    assert "data.00: FAILED" in done.stdout


def test_parts_are_kept_as_they_are_uploaded(tmp_path: Path) -> None:
    part(tmp_path, "data.00", 1)
    day(tmp_path, "take")
    (tmp_path / "kit" / "parts" / "data" / "data.00").unlink()  # the next upload has another
    part(tmp_path, "data.01", 1)
    output = day(tmp_path, "take").stdout
    assert {"data.00", "data.01"} <= set(output.split())


def test_a_failed_step_copies_finished_results(tmp_path: Path) -> None:
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


def test_a_run_is_downloaded_in_several_commands_within_the_limits_of_each(tmp_path: Path) -> None:
    run = tmp_path / "keep" / "runs" / "resnet18_mate-seed0"
    (run / "checkpoints").mkdir(parents=True)
    (tmp_path / "keep" / "runs" / "settings").write_text("training.compile=true\n")
    weights = random.Random(0).randbytes(5 << 20)
    (run / "checkpoints" / "last.ckpt").write_bytes(weights)  # unfinished, so it is included
    (tmp_path / "keep" / "data").mkdir()  # needed to write the results again
    parts: dict[str, bytes] = {}
    following: list[str] = []
    for trip in range(4):
        out = tmp_path / f"out{trip}"
        limits = {"OUT": str(out), "OUT_FILE_MIB": "1", "OUT_MIB": "3", "OUT_FILES": "5"}
        output = day(tmp_path, "home", "resnet18_mate-seed0", *following, **limits).stdout
        sent = list(out.iterdir())
        assert len(sent) <= 5
        assert sum(path.stat().st_size for path in sent) <= 3 << 20
        parts |= {path.name: path.read_bytes() for path in sent if ".tar." in path.name and "results" not in path.name}
        again = re.search(r"next: day\.sh home resnet18_mate-seed0 (\d+)", output)
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


def test_an_unknown_run_cannot_be_downloaded(tmp_path: Path) -> None:
    done = day(tmp_path, "home", "nothing", check=False)
    assert done.returncode == 2
    assert "nothing: run not found" in done.stderr


def test_runs_resume_with_the_settings_of_their_probe(tmp_path: Path) -> None:
    (tmp_path / "keep" / "runs" / "resnet18_mate-seed0").mkdir(parents=True)
    (tmp_path / "keep" / "runs" / "settings").write_text("training.compile=true\n")
    assert "and resume with it" in day(tmp_path, "probe").stdout


def test_an_unknown_step_shows_the_usage(tmp_path: Path) -> None:
    done = day(tmp_path, "dance", check=False)
    assert done.returncode == 2
    assert "--timetable" in done.stdout


@pytest.mark.parametrize("folder", ["k", "k" * 100])
def test_temporary_files_are_in_keep_unless_its_path_is_too_long_for_sockets(folder: str) -> None:
    with tempfile.TemporaryDirectory() as short:
        keep = Path(short).resolve() / folder
        shown = subprocess.run(
            ["bash", "-euc", '. "$0"; set_folders; prepare_folders; echo "$TMPDIR"', str(DAY.parent / "remote.sh")],
            env=os.environ | {"KEEP": str(keep), "KIT": f"{short}/kit", "TMPDIR": "/tmp"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    assert shown == ("/tmp" if len(str(keep)) > 71 else str(keep / "tmp"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_whole_session_on_little_data(tmp_path: Path) -> None:
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
            _, errors = rehearsal.communicate()
        except BaseException:
            os.killpg(rehearsal.pid, signal.SIGTERM)  # on SIGTERM it ends its trainings; SIGKILL would leave them
            raise
    if "Could not find a version" in errors or "No matching distribution" in errors:
        pytest.skip("the package index cannot be reached, so no wheels can be collected")
    assert rehearsal.returncode == 0, errors[-2000:]
    results = {path.name for path in (tmp_path / "rehearsed" / "keep" / "results").iterdir()}
    assert {
        "probe.json",
        "cifar100_resnet18.json",
        "cifar100_resnet18.md",
        "early_exit_torch_cpu.json",
        "train_throughput_cpu.json",
        "step_cost_cpu.json",
    } <= results
