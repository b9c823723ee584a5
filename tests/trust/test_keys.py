"""Files of keys that are no plain files, and a pair of which one cannot be written."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from edgemate.errors import UsageError
from edgemate.trust.keys import read_private_key, read_trusted_keys, write_key_pair

pytest.importorskip("cryptography")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    fifo = tmp_path / "key.pem"
    os.mkfifo(fifo)
    for read in (read_private_key, read_trusted_keys):
        with pytest.raises(UsageError, match=r"key\.pem: cannot be read: it is a named pipe; name a file$"):
            read(fifo)


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="needs /dev/fd")
def test_what_a_shell_opens_is_read(tmp_path: Path) -> None:
    private, public = tmp_path / "mine.pem", tmp_path / "mine.pub"
    identifier = write_key_pair(private, public)
    reading, writing = os.pipe()

    def feed() -> None:
        with os.fdopen(writing, "wb") as target:
            target.write(public.read_bytes())

    thread = threading.Timer(0.2, feed)
    thread.start()
    try:
        assert list(read_trusted_keys(Path(f"/dev/fd/{reading}"))) == [identifier]
    finally:
        thread.join()
        os.close(reading)


def test_a_key_without_its_other_half_is_not_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"exists|directory"):
        write_key_pair(tmp_path / "mine.pem", tmp_path / "file" / "mine.pub")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    write_key_pair(tmp_path / "mine.pem", tmp_path / "mine.pub")


def test_a_password_that_is_no_text_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_key_pair(tmp_path / "mine.pem", tmp_path / "mine.pub")
    monkeypatch.setenv("EDGEMATE_KEY_PASSWORD", "\udcff")
    with pytest.raises(UsageError, match="EDGEMATE_KEY_PASSWORD holds the password of a key"):
        read_private_key(tmp_path / "mine.pem")
