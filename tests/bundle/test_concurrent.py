"""A bundle that is calibrated or replaced while others read it, or until a kill."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from bundles import write_graphs

from edgemate import files
from edgemate.bundle import Bundle, BundleWriter, replace_file, writing_bundle
from edgemate.bundle.consistent import consistently
from edgemate.bundle.packing import pack_bundle, unpack_bundle
from edgemate.bundle.signing import sign_bundle
from edgemate.calibration import CalibrationOptions, calibrate_bundle, read_operating_points
from edgemate.calibration.operating_points import POLICIES_FILE
from edgemate.errors import BundleError
from edgemate.swapping import exchange

HOLD = """
import sys, time
from pathlib import Path
from edgemate.bundle import writing_bundle
with writing_bundle(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""

# Of Python 3.12 and later; the forks do nothing but the call, and end.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def kill_at_rename(number: int) -> None:
    """End this process at one of its renames, before it has an effect."""
    real, count = Path.replace, iter(range(1, 100))

    def replacing(self: Path, to: Path) -> Path:
        if next(count) == number:
            os._exit(9)
        return real(self, to)

    Path.replace = replacing  # type: ignore[method-assign]


def test_a_file_that_is_replaced_is_old_or_new_at_every_kill(own_bundle: Path, tmp_path: Path) -> None:
    old, new = (own_bundle / POLICIES_FILE).read_bytes(), (own_bundle / POLICIES_FILE).read_bytes() + b"\n"
    seen = []
    for number in (1, 2, 3, 4):
        path = Path(shutil.copytree(own_bundle, tmp_path / str(number)))
        child = os.fork()
        if not child:
            kill_at_rename(number)
            replace_file(Bundle.open(path), POLICIES_FILE, new)
            os._exit(0)
        os.waitpid(child, 0)
        bundle = Bundle.open(path)  # with the hashes of all files
        content = bundle.file(POLICIES_FILE).read_bytes()
        seen.append({old: "old", new: "new"}[content])
        newer = new + b"\n"
        replace_file(bundle, POLICIES_FILE, newer)
        assert Bundle.open(path).manifest.files[POLICIES_FILE].next is None
        assert (path / POLICIES_FILE).read_bytes() == newer
    assert seen == ["old", "old", "new", "new"], "the second rename, that of the file, decides"


def test_only_the_contents_that_are_listed_are_valid(own_bundle: Path) -> None:
    bundle = Bundle.open(own_bundle)
    kill = os.fork()
    if not kill:
        kill_at_rename(2)
        replace_file(bundle, POLICIES_FILE, b"new")
        os._exit(0)
    os.waitpid(kill, 0)
    assert Bundle.open(own_bundle).manifest.files[POLICIES_FILE].next is not None
    (own_bundle / POLICIES_FILE).write_bytes(b"neu")
    with pytest.raises(BundleError, match=POLICIES_FILE):
        Bundle.open(own_bundle)


def test_a_manifest_that_replaces_nothing_reads_as_before(own_bundle: Path) -> None:
    replace_file(Bundle.open(own_bundle), POLICIES_FILE, (own_bundle / POLICIES_FILE).read_bytes())
    assert '"next"' not in (own_bundle / "bundle.json").read_text()


def test_readers_beside_calibrations_see_old_or_new_points(own_bundle: Path) -> None:
    seen: Counter[tuple[str, ...]] = Counter()
    problems: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                points = read_operating_points(Bundle.open(own_bundle))
                seen[tuple(points.names())] += 1
        except BaseException as error:
            problems.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    from edgemate.calibration import DEFAULT_REQUESTS, Request

    more = CalibrationOptions((*DEFAULT_REQUESTS, Request("drop", max_drop=0.01)))
    try:
        for number in range(20):
            calibrate_bundle(own_bundle, more if number % 2 else CalibrationOptions())
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert problems == []
    assert {"drop" in names for names in seen} == {True, False}, seen


def test_readers_beside_exports_see_one_bundle_or_the_other(own_bundle: Path, tmp_path: Path) -> None:
    probe = tmp_path / "probe"
    probe.mkdir()
    if not exchange(own_bundle, probe):
        pytest.skip("this system has no exchange")
    exchange(own_bundle, probe)
    names: Counter[str] = Counter()
    problems: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                names[Bundle.open(own_bundle).manifest.name] += 1
        except BaseException as error:
            problems.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(15):
            with BundleWriter(own_bundle, overwrite=True) as writer:
                metadata = write_graphs(writer.path)
                files.write_text(writer.path / "notes.txt", "x" * number)
                writer.finish(metadata.model_copy(update={"name": f"bundle {number % 2}"}))
    finally:
        stop.set()
        reader.join()
    assert problems == []
    assert {"bundle 0", "bundle 1"} <= set(names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own", "probe"]


def test_one_process_at_a_time_writes_into_a_bundle(own_bundle: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(own_bundle)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            with pytest.raises(BundleError, match=rf"process {process.pid} is writing into this bundle; wait"):
                calibrate_bundle(own_bundle)
            with pytest.raises(BundleError, match="is writing into this bundle"):
                BundleWriter(own_bundle, overwrite=True).check()
            with pytest.raises(BundleError, match="is writing into this bundle"):
                sign_bundle(Bundle.open(own_bundle), own_bundle.parent / "no.pem")
            Bundle.open(own_bundle)  # readers are not kept out
        finally:
            process.kill()
    calibrate_bundle(own_bundle)


def test_leftovers_go_with_the_next_command_that_writes(own_bundle: Path) -> None:
    (own_bundle / ".policies.json.x8sk3_dd.part").write_text("half")
    (own_bundle / "latency").mkdir()
    (own_bundle / "latency" / ".here.json.0123456789abcdef.part").write_text("half")
    (own_bundle.parent / ".own.12345678.part").mkdir()
    with writing_bundle(own_bundle):
        pass
    assert not list(own_bundle.rglob("*.part"))
    with BundleWriter(own_bundle, overwrite=True) as writer:
        writer.finish(write_graphs(writer.path))
    assert [path.name for path in own_bundle.parent.iterdir()] == ["own"]


def test_a_bundle_is_packed_as_it_is_now_and_not_while_another_process_writes(own_bundle: Path, tmp_path: Path) -> None:
    """A packed bundle had the old manifest and the new policies, and could not be unpacked any more."""
    before = Bundle.open(own_bundle)
    with writing_bundle(own_bundle):
        replace_file(before, "golden.npz", (own_bundle / "golden.npz").read_bytes() + b"\0")
    pack_bundle(before, tmp_path / "now.tar")
    unpack_bundle(tmp_path / "now.tar", tmp_path / "now")
    with writing_bundle(own_bundle), pytest.raises(BundleError, match="is writing into this bundle; wait until it has"):
        pack_bundle(before, tmp_path / "not.tar")
    assert not (tmp_path / "not.tar").exists()


def test_an_export_that_was_slower_replaces_nothing(
    own_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with BundleWriter(tmp_path / "b") as slower:
        metadata = write_graphs(slower.path)
        shutil.copytree(own_bundle, tmp_path / "b")  # once the slower one has looked
        monkeypatch.setattr(slower, "_check_target", lambda: None)
        with pytest.raises(BundleError, match="b: exists by now; choose another folder"):
            slower.finish(metadata)
    Bundle.open(tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_what_was_read_of_two_builds_of_engines_is_read_again(own_bundle: Path) -> None:
    (own_bundle / "engines" / "orin").mkdir(parents=True)
    (own_bundle / "engines" / ".new").mkdir()
    discarded: list[int] = []
    numbers = iter(range(1, 9))

    def read() -> int:
        number = next(numbers)
        if number == 1 and not exchange(own_bundle / "engines" / "orin", own_bundle / "engines" / ".new"):
            pytest.skip("this system has no exchange")
        return number

    assert consistently(own_bundle, read, discarded.append) == 2
    assert discarded == [1]


def test_an_error_of_a_bundle_that_nobody_writes_is_raised_at_once(own_bundle: Path) -> None:
    calls = []

    def read() -> None:
        calls.append(1)
        raise BundleError("damaged")

    with pytest.raises(BundleError, match="damaged"):
        consistently(own_bundle, read)
    assert len(calls) == 1
