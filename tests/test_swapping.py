from __future__ import annotations

import errno
import os
import sys
import threading
from pathlib import Path

import pytest

from edgemate import durable, swapping
from edgemate.swapping import exchange, move_to_new_name, new_folder, put_in_place, recover

# Of Python 3.12 and later; the forks do nothing but the call, and end.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def folder(path: Path, content: str) -> Path:
    path.mkdir()
    (path / "file").write_text(content)
    return path


@pytest.fixture(params=["exchange", "two renames"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With and without the system's exchange of two names."""
    if request.param == "two renames":
        monkeypatch.setattr(swapping, "exchange", lambda one, other: False)
    elif not sys.platform.startswith("linux"):
        pytest.skip("this system has no exchange")
    return str(request.param)


def test_two_names_are_exchanged_at_once(tmp_path: Path) -> None:
    one, other = folder(tmp_path / "one", "1"), folder(tmp_path / "other", "2")
    if not exchange(one, other):
        pytest.skip("this system has no exchange")
    assert (one / "file").read_text() == "2"
    assert (other / "file").read_text() == "1"


def test_an_exchange_that_is_refused_is_an_error_and_one_that_is_unknown_is_not(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        exchange(folder(tmp_path / "one", "1"), tmp_path / "absent")


def test_a_new_folder_takes_the_place_of_the_old_one(tmp_path: Path, system: str) -> None:
    target = folder(tmp_path / "target", "old")
    with new_folder(target) as made:
        (made / "file").write_text("new")
        put_in_place(made, target)
        assert (target / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_without_put_in_place_the_old_one_stays(tmp_path: Path, system: str) -> None:
    target = folder(tmp_path / "target", "old")
    with new_folder(target) as made:
        (made / "file").write_text("new")
    assert (target / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_there_is_a_whole_folder_at_every_moment(tmp_path: Path) -> None:
    target = folder(tmp_path / "target", "old")
    if not exchange(target, folder(tmp_path / "probe", "")):
        pytest.skip("this system has no exchange")
    exchange(target, tmp_path / "probe")
    seen: set[str] = set()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            try:
                seen.add((target / "file").read_text())
            except FileNotFoundError:
                seen.add("nothing")

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for number in range(100):
            with new_folder(target) as made:
                (made / "file").write_text(f"new {number}")
                put_in_place(made, target)
    finally:
        stop.set()
        reader.join()
    assert "nothing" not in seen
    assert "" not in seen


def test_killed_between_two_renames_the_old_folder_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swapping, "exchange", lambda one, other: False)
    target = folder(tmp_path / "target", "old")
    rename = Path.rename

    def once(self: Path, to: Path) -> Path:
        if to == target:
            os._exit(9)
        return rename(self, to)

    child = os.fork()
    if not child:
        Path.rename = once  # type: ignore[method-assign]
        with new_folder(target) as made:
            put_in_place(made, target)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not target.exists(), "the test has killed it elsewhere"
    recover(target)
    assert (target / "file").read_text() == "old"
    with new_folder(target):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_what_replaces_a_folder_is_synced_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = folder(tmp_path / "target", "old")
    synced: list[str] = []
    monkeypatch.setattr(durable, "sync_tree", lambda path: synced.append(path.name))
    real = swapping.exchange

    def exchanged(one: Path, other: Path) -> bool:
        assert synced, "it was in its place before it was on the disk"
        return real(one, other)

    monkeypatch.setattr(swapping, "exchange", exchanged)
    with new_folder(target) as made:
        put_in_place(made, target)
        assert synced == [made.name]


def test_a_full_disk_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    target = folder(tmp_path / "target", "old")

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(durable, "sync_tree", full)
    with pytest.raises(OSError, match="No space"), new_folder(target) as made:
        put_in_place(made, target)
    assert (target / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


@pytest.mark.parametrize("atomic", [True, False], ids=["atomic", "renamed"])
def test_a_folder_that_came_first_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, atomic: bool
) -> None:
    """Each of two processes saw that the new folder was free, and the second removed what the first had made."""
    if not atomic:
        monkeypatch.setattr(swapping, "_renameat2", lambda *given: False)
    first, second = folder(tmp_path / "first", "1"), folder(tmp_path / "second", "2")
    put_in_place(first, tmp_path / "target", replace=False)
    with pytest.raises(FileExistsError):
        put_in_place(second, tmp_path / "target", replace=False)
    assert (tmp_path / "target" / "file").read_text() == "1"
    assert (second / "file").read_text() == "2"


@pytest.mark.parametrize("atomic", [True, False], ids=["atomic", "reserved"])
def test_a_file_takes_no_name_that_somebody_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, atomic: bool) -> None:
    if not atomic:
        monkeypatch.setattr(swapping, "_renameat2", lambda *given: False)
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("1")
    other.write_text("2")
    with pytest.raises(FileExistsError):
        move_to_new_name(one, other)
    assert (one.read_text(), other.read_text()) == ("1", "2")
    move_to_new_name(one, tmp_path / "new")
    assert [(path.name, path.read_text()) for path in sorted(tmp_path.iterdir())] == [("new", "1"), ("other", "2")]
    with pytest.raises(FileNotFoundError):
        move_to_new_name(one, tmp_path / "newer")
    assert not (tmp_path / "newer").exists()
