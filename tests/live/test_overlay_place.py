"""Where an overlay may be written, and what is under its name before the end."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edgemate.api.running import run
from edgemate.bundle import Bundle
from edgemate.errors import UsageError
from edgemate.live import LiveAnswer
from edgemate.live.overlay import check_overlay, open_overlay

pytest.importorskip("av")


def test_the_source_itself_is_refused_under_any_name_and_stays(small_bundle: Bundle, video: Path) -> None:
    before = video.read_bytes()
    link, hard = video.parent / "link.mp4", video.parent / "hard.mp4"
    link.symlink_to(video)
    os.link(video, hard)
    for name in (video, link, hard, video.parent / "." / ".." / video.parent.name / video.name):
        with pytest.raises(UsageError, match="is the source itself"):
            run(small_bundle, video, threads=1, overlay=name)
    with pytest.raises(UsageError, match="is the source itself"):
        run(small_bundle, link, threads=1, overlay=video)
    assert video.read_bytes() == before


def test_a_place_that_cannot_be_written_is_refused_at_once(small_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "link.mp4").symlink_to(tmp_path / "elsewhere.mp4")
    for place, said in (
        (tmp_path / "none" / "out.mp4", "there is no folder"),
        (Path("/proc/out.mp4"), "cannot be written"),
        (tmp_path / "folder.mp4", "is a folder"),
        (tmp_path / "link.mp4", "is a link"),
        (small_bundle.path / "out.mp4", "is inside the bundle"),
        (tmp_path / f"{'x' * 5000}/out.mp4", "there is no folder"),
    ):
        with pytest.raises(UsageError, match=said) as error:
            check_overlay(str(place))
        assert len(str(error.value)) < 600


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_the_file_has_its_name_at_the_end_only(tmp_path: Path, suffix: str) -> None:
    import av

    path = tmp_path / f"out{suffix}"
    overlay = open_overlay(str(path))
    for number in range(3):
        answer = LiveAnswer(number, 0.1 * number, 0.0, 0.0, 0.0, None)
        overlay.show(np.zeros((24, 32, 3), np.uint8), answer)
    assert not path.exists()
    overlay.close()
    assert list(tmp_path.iterdir()) == [path]
    with av.open(str(path)) as found:
        assert len(list(found.decode(video=0))) == 3


def test_without_a_frame_what_was_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_text("before")
    open_overlay(str(path)).close()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_that_are_far_apart_are_a_minute_apart(tmp_path: Path, suffix: str) -> None:
    import av

    path = tmp_path / f"out{suffix}"
    overlay = open_overlay(str(path))
    day = 86_400.0
    for number, timestamp in enumerate((5.0, 5.5, day, 5 * day, 5 * day, 5 * day - 1)):
        overlay.show(np.zeros((24, 32, 3), np.uint8), LiveAnswer(number, timestamp, 0.0, 0.0, 0.0, None))
    overlay.close()
    with av.open(str(path)) as found:
        times = [frame.time for frame in found.decode(video=0)]
    assert times == pytest.approx([0.0, 0.5, 60.5, 120.5, 120.5, 120.5], abs=0.01)
    assert path.stat().st_size < 10_000


def test_avi_which_has_one_rate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"give window, or a file whose name ends with \.mp4, \.mkv, \.mov"):
        check_overlay(str(tmp_path / "out.avi"))
