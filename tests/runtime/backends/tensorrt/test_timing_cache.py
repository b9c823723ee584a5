from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from fake_tensorrt import FakeTensorRT

from edgemate.runtime.backends.tensorrt import vouched_file
from edgemate.runtime.backends.tensorrt.timing_cache import TimingCache, default_folder


def config(*entries: bytes):
    made = FakeTensorRT("10.3.0").IBuilderConfig()
    made.set_timing_cache(made.create_timing_cache(b" ".join([b"timings", *entries])), ignore_mismatch=False)
    return made


def test_what_one_build_learns_the_next_one_knows(tmp_path: Path) -> None:
    cache = TimingCache(tmp_path / "new", "orin_sm87_trt10.3.0")
    empty = config()
    cache.load(empty)
    assert empty.get_timing_cache().serialize() == b"timings"
    cache.save(config(b"conv"))
    later = config()
    TimingCache(tmp_path / "new", "orin_sm87_trt10.3.0").load(later)
    assert later.get_timing_cache().serialize() == b"timings conv"


def test_devices_and_versions_have_caches_of_their_own(tmp_path: Path) -> None:
    TimingCache(tmp_path, "orin_sm87_trt10.3.0").save(config(b"conv"))
    other = config()
    TimingCache(tmp_path, "orin_sm87_trt10.13.2").load(other)
    assert other.get_timing_cache().serialize() == b"timings"


def test_what_others_wrote_meanwhile_is_kept(tmp_path: Path) -> None:
    cache = TimingCache(tmp_path, "tag")
    for entry in (b"one", b"two"):
        cache.save(config(entry))
    assert cache.path.read_bytes() == b"timings one two"


@pytest.mark.parametrize("content", [b"rubbish", b"timings foreign"])
def test_a_cache_that_tensorrt_does_not_take_counts_as_empty(tmp_path: Path, content: bytes) -> None:
    cache = TimingCache(tmp_path, "tag")
    cache.path.write_bytes(content)
    given = config()
    cache.load(given)
    assert given.get_timing_cache().serialize() == b"timings"


@pytest.mark.skipif(vouched_file.fcntl is None, reason="this system has no flock")
def test_only_one_at_a_time_reads_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = TimingCache._read

    def slowly(self: TimingCache, config: object) -> object:
        found = read(self, config)
        time.sleep(0.02)  # long enough for another to write between reading and writing
        return found

    monkeypatch.setattr(TimingCache, "_read", slowly)
    entries = [b"a", b"b", b"c", b"d"]
    builds = [threading.Thread(target=TimingCache(tmp_path, "tag").save, args=(config(entry),)) for entry in entries]
    for build in builds:
        build.start()
    for build in builds:
        build.join()
    assert (tmp_path / "tag.timing").read_bytes() == b"timings a b c d"


def test_a_build_without_a_cache_writes_none(tmp_path: Path) -> None:
    cache = TimingCache(tmp_path, "tag")
    cache.save(FakeTensorRT("10.3.0").IBuilderConfig())
    assert not cache.path.exists()


def test_the_users_cache_is_where_the_system_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "edgemate" / "timing"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "edgemate" / "timing"
