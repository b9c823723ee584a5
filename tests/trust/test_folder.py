from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemate.errors import BundleError
from edgemate.limits import BUNDLE_FILES, FOLDER_ENTRIES
from edgemate.trust import GuardedFolder, folder

posix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="of POSIX systems")


@pytest.fixture(params=[True, False], ids=["by descriptor", "by path"])
def guarded(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> GuardedFolder:
    """A folder with sub/file, and another folder beside it."""
    if request.param and not folder._BY_DESCRIPTOR:
        pytest.skip("this system opens by path only")
    monkeypatch.setattr(folder, "_BY_DESCRIPTOR", request.param)
    (tmp_path / "inside" / "sub").mkdir(parents=True)
    (tmp_path / "inside" / "sub" / "file").write_bytes(b"content")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(b"private")
    return GuardedFolder(tmp_path / "inside")


def test_plain_files_are_read(guarded: GuardedFolder) -> None:
    assert guarded.read("sub/file") == b"content"
    assert guarded.check("sub/file") == guarded.path / "sub" / "file"
    assert guarded.sha256("sub/file")[1] == 7
    assert guarded.sha256("sub/file", 8) == ("", 7)
    assert guarded.names("sub") == ["file"]
    assert guarded.names("none") == []
    assert list(guarded.walk()) == ["sub/file"]
    assert not guarded.has("sub/none")
    with pytest.raises(FileNotFoundError):
        guarded.read("sub/none")


def test_a_longer_file_than_wanted_is_refused(guarded: GuardedFolder) -> None:
    with pytest.raises(BundleError, match="sub/file: has 7 bytes; the limit is 6"):
        guarded.read("sub/file", 6)


def special(kind: str, path: Path) -> None:
    path.unlink(missing_ok=True)
    if kind == "a FIFO":
        os.mkfifo(path)
    elif kind == "a socket":
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket is limited to some hundred bytes
        try:
            socket.socket(socket.AF_UNIX).bind(path.name)
        finally:
            os.chdir(here)
    elif kind == "a folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "a link to a device" else path.parent.parent.parent / "outside" / "file")


@posix
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("kind", ["a FIFO", "a socket", "a folder", "a link", "a link to a device"])
@pytest.mark.parametrize(
    "use", [GuardedFolder.read, GuardedFolder.check, GuardedFolder.has, GuardedFolder.sha256, GuardedFolder.place]
)
def test_a_special_file_is_refused_unread(
    guarded: GuardedFolder, kind: str, use: Callable[[GuardedFolder, str], object]
) -> None:
    special(kind, guarded.path / "sub" / "file")
    with pytest.raises(BundleError) as caught:
        use(guarded, "sub/file")
    assert str(caught.value).startswith(f"{guarded.path / 'sub' / 'file'}: is {kind.split(' to ')[0]}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("target", ["outside", "inside/sub"])
def test_a_linked_folder_is_refused_wherever_it_leads(guarded: GuardedFolder, target: str) -> None:
    (guarded.path / "linked").symlink_to(guarded.path.parent / target)
    for use in (guarded.read, guarded.place, guarded.has):
        with pytest.raises(BundleError, match="linked: is a link, and links are not followed"):
            use("linked/file")
    with pytest.raises(BundleError, match="linked: is a link"):
        guarded.names("linked")
    with pytest.raises(BundleError, match="linked: is a link"):
        list(guarded.walk())


def test_a_link_among_folders_is_refused(guarded: GuardedFolder) -> None:
    (guarded.path / "sub" / "linked").symlink_to(guarded.path.parent / "outside")
    with pytest.raises(BundleError, match="linked: is a link"):
        guarded.folders("sub")


@pytest.mark.parametrize(
    "path", ["", ".", "..", "../outside/file", "/etc/hostname", "sub/../sub/file", "a\\b", "C:x", "a\0"]
)
def test_a_path_that_leaves_the_folder_is_refused(guarded: GuardedFolder, path: str) -> None:
    for use in (guarded.read, guarded.place, guarded.names):
        with pytest.raises(BundleError):
            use(path)


def test_a_new_file_has_a_place(guarded: GuardedFolder) -> None:
    assert guarded.place("new/deep/file") == guarded.path / "new" / "deep" / "file"
    with pytest.raises(BundleError, match="file: is a file; a folder should be there"):
        guarded.place("sub/file/below")


@given(st.text(max_size=30))
def test_what_is_inside_stays_inside(path: str) -> None:
    try:
        folder.inside(path)
    except ValueError:
        return
    assert os.path.normpath(path) == path
    assert not path.startswith(("/", ".."))
    assert "\\" not in path


@pytest.mark.skipif(not folder._BY_DESCRIPTOR, reason="this system opens by path")
def test_what_was_checked_is_what_is_read(guarded: GuardedFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that becomes a link between the check and the open is not followed."""
    if not folder._BY_DESCRIPTOR:
        pytest.skip("opened by path")
    place, opened = guarded.path / "sub" / "file", os.open

    def swapped(path: object, *given: object, **options: object) -> int:
        if path == "file":
            place.unlink()
            place.symlink_to(guarded.path.parent / "outside" / "file")
        return opened(path, *given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(folder.os, "open", swapped)
    with pytest.raises(BundleError, match="file: cannot be read"):
        guarded.read("sub/file")


def test_a_walk_ends_however_many_files_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "BUNDLE_FILES", BUNDLE_FILES._replace(most=3))
    for k in range(4):
        (tmp_path / f"file_{k}").write_text("")
    with pytest.raises(BundleError, match="has more than 3 files, which is the limit"):
        list(GuardedFolder(tmp_path).walk())


def test_a_walk_ends_however_deep_the_folders_are(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(40):
        deep /= "a"
    deep.mkdir(parents=True)
    with pytest.raises(BundleError, match="is more than 16 folders deep, which is the limit"):
        list(GuardedFolder(tmp_path).walk())


def test_a_listing_ends_however_many_files_there_are(guarded: GuardedFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "FOLDER_ENTRIES", FOLDER_ENTRIES._replace(most=1))
    assert guarded.names("sub") == ["file"]
    (guarded.path / "sub" / "other").write_text("")
    with pytest.raises(BundleError, match="sub: has more than 1 file, which is the limit"):
        guarded.names("sub")


def test_what_killed_commands_left_is_passed_over(guarded: GuardedFolder) -> None:
    (guarded.path / ".policies.json.0123456789abcdef.part").write_text("half")
    (guarded.path / "sub" / ".file.0123456789abcdef.old").mkdir()
    (guarded.path / "sub" / ".file.0123456789abcdef.old" / "x").write_text("")
    (guarded.path / ".other").write_text("")
    assert list(guarded.walk()) == [".other", "sub/file"]
