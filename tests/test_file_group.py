from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from edgemate import durable, files
from edgemate.file_group import finish_groups, together

# Of Python 3.12 and later; the forks do nothing but the call, and end.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def old_files(folder: Path) -> None:
    for name in ("a", "b"):
        files.write_text(folder / name, "old")


def texts(folder: Path) -> list[str]:
    return [(folder / name).read_text() for name in ("a", "b")]


def test_a_folder_in_the_place_of_a_file_is_told_before_anything_moves(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()

    def write() -> None:
        with together(tmp_path):
            files.write_text(tmp_path / "a", "new")
            files.write_text(tmp_path / "b", "new")

    with pytest.raises(IsADirectoryError) as caught:
        write()
    assert caught.value.filename == str(tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_files_take_their_places_when_the_block_ends(tmp_path: Path) -> None:
    old_files(tmp_path)
    with together(tmp_path):
        files.write_text(tmp_path / "a", "new")
        files.write_text(tmp_path / "b", "new")
        assert texts(tmp_path) == ["old", "old"]
        files.write_text(tmp_path / "below" / "c", "at once")
        assert (tmp_path / "below" / "c").read_text() == "at once"
    assert texts(tmp_path) == ["new", "new"]
    assert names(tmp_path) == ["a", "b", "below"]


def test_after_an_error_none_has(tmp_path: Path) -> None:
    old_files(tmp_path)

    def fail() -> None:
        with together(tmp_path):
            files.write_text(tmp_path / "a", "new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert texts(tmp_path) == ["old", "old"]
    assert names(tmp_path) == ["a", "b"]


def test_a_block_inside_of_another_of_the_same_folder_belongs_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path.parent)
    with together(tmp_path):
        with together(Path(tmp_path.name)):
            files.write_text(tmp_path / "a", "new")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a").exists()


def test_killed_at_any_rename_all_are_old_or_all_new(tmp_path: Path) -> None:
    states = set()
    for number in range(1, 20):
        folder = tmp_path / str(number)
        folder.mkdir()
        old_files(folder)
        child = os.fork()
        if not child:
            _kill_at_rename(number)
            with together(folder):
                files.write_text(folder / "a", "new")
                files.write_text(folder / "b", "new")
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        finish_groups(folder)
        found = texts(folder)
        assert len(set(found)) == 1, (number, found)
        assert names(folder) == ["a", "b"], number
        states.add((code, found[0]))
        if code == 0:
            break
    assert states == {(9, "old"), (9, "new"), (0, "new")}


def _kill_at_rename(number: int) -> None:
    count = iter(range(1, 100))
    for name in ("replace", "rename"):
        real = getattr(Path, name)

        def moving(self: Path, to: Path, real: object = real) -> Path:
            if next(count) == number:
                os._exit(9)
            return real(self, to)  # type: ignore[operator, no-any-return]

        setattr(Path, name, moving)


def test_where_the_disk_takes_no_more_after_the_decision_all_are_new_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text("old")

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def write() -> None:
        with together(tmp_path):
            for name in ("one", "two"):
                files.write_text(tmp_path / name, "new")
            monkeypatch.setattr(durable, "sync_folder", full)

    with pytest.raises(OSError, match="No space left"):
        write()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"one": "new", "two": "new"}
