from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from edgemate.errors import BackendError
from edgemate.trust import Ledger
from edgemate.trust.ledger import data_folder

ONE, TWO = "1" * 64, "2" * 64

not_root = pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write anywhere")


def test_what_was_recorded_is_known_and_nothing_else(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "data" / "built")
    assert not ledger.knows(ONE, TWO)
    ledger.record(ONE, TWO)
    assert ledger.knows(ONE, TWO)
    assert not ledger.knows(TWO, ONE)
    assert not ledger.knows(ONE)
    ledger.record(ONE, TWO)
    ledger.forget(ONE, TWO)
    assert not ledger.knows(ONE, TWO)
    ledger.forget(ONE, TWO)


def test_no_other_name_is_looked_up(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "built")
    ledger.record(ONE)
    for name in ("", ".", "..", f"../built/{ONE}", ONE.upper().replace("1", "G"), f"{ONE}\n"):
        assert not ledger.knows(name)
        with pytest.raises(ValueError, match="is not one or two SHA-256 hashes"):
            ledger.record(name)


def test_it_is_closed_to_others(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "data" / "built")
    ledger.record(ONE)
    for folder in (ledger.path, ledger.path.parent):
        assert stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0 or folder == ledger.path.parent
    assert stat.S_IMODE((ledger.path / ONE).stat().st_mode) == 0o600


@pytest.mark.parametrize("which", ["built", "data"])
def test_a_list_that_others_may_write_to_is_not_believed(tmp_path: Path, which: str) -> None:
    ledger = Ledger(tmp_path / "data" / "built")
    ledger.record(ONE)
    open_to_all = ledger.path if which == "built" else ledger.path.parent
    open_to_all.chmod(0o777)
    assert not ledger.knows(ONE)
    with pytest.raises(BackendError, match=r"others may write to it \(chmod 700 .*; set EDGEMATE_TRUST to a folder"):
        ledger.record(TWO)
    open_to_all.chmod(0o700)
    assert ledger.knows(ONE)


def test_a_linked_list_is_not_believed(tmp_path: Path) -> None:
    theirs = Ledger(tmp_path / "theirs" / "built")
    theirs.record(ONE)
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / "built").symlink_to(theirs.path)
    assert not Ledger(tmp_path / "data" / "built").knows(ONE)


def test_a_place_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BackendError) as caught:
        Ledger(tmp_path / "file" / "built").prepare()
    assert "the list of engines built here cannot be kept: " in str(caught.value)
    assert str(caught.value).endswith("set EDGEMATE_TRUST to a folder of yours")


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEMATE_TRUST", str(tmp_path / "mine"))
    assert data_folder() == tmp_path / "mine"
    monkeypatch.delenv("EDGEMATE_TRUST")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    assert Ledger.of_this_user().path == tmp_path / "share" / "edgemate" / "built"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_folder() == tmp_path / ".local" / "share" / "edgemate"


def test_a_place_that_depends_on_where_one_stands_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEMATE_TRUST", "here")
    with pytest.raises(BackendError, match="EDGEMATE_TRUST 'here': must be an absolute path"):
        data_folder()
    monkeypatch.delenv("EDGEMATE_TRUST")
    monkeypatch.setenv("XDG_DATA_HOME", "here")  # which the standard says to ignore
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_folder() == tmp_path / ".local" / "share" / "edgemate"


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("EDGEMATE_TRUST")
    monkeypatch.setattr(Path, "expanduser", nowhere)
    with pytest.raises(BackendError, match="this user has no home folder; set EDGEMATE_TRUST"):
        Ledger.of_this_user()
