"""What each kind of source gives, and what is said of one that cannot be opened."""

from __future__ import annotations

import errno
import http.server
import os
import sys
import threading
import types
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from bundles import CONTRACT
from PIL import Image
from videos import jpeg, steps, write_video

from edgemate.bundle import Bundle
from edgemate.core.image_search import find_images
from edgemate.errors import DataError, ImageError, UsageError
from edgemate.limits import SOURCE_FILES, Limit
from edgemate.live import Frame
from edgemate.live.sources import Source, SourceOptions, open_source
from edgemate.live.sources.addresses import without_password
from edgemate.live.sources.standard_input import StandardInput
from edgemate.runtime import Preprocessor


def image_files(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.new("RGB", (8, 8)).save(folder / name)
    return folder


def piped(data: bytes, raw: str | None = None) -> list[Frame]:
    read, write = os.pipe()

    def feed() -> None:
        with os.fdopen(write, "wb") as target:
            target.write(data)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        return list(StandardInput(raw=raw, descriptor=read).frames())
    finally:
        thread.join()
        os.close(read)


def test_a_video_gives_its_frames_at_their_times_in_rgb(video: Path) -> None:
    pytest.importorskip("av")
    source = open_source(str(video))
    assert source.period == pytest.approx(0.04)
    frames = list(source.frames())
    assert [frame.index for frame in frames] == list(range(20))
    assert [frame.timestamp for frame in frames] == pytest.approx([0.04 * k for k in range(20)])
    first, last = np.asarray(frames[0].image()), np.asarray(frames[-1].image())
    assert (first.shape, first.dtype) == ((24, 32, 3), np.uint8)
    assert abs(first.mean() - 10) < 8
    assert abs(last.mean() - 219) < 8


def damaged(video: Path, target: Path, packets: set[int]) -> Path:
    """A copy of a video in which the packets with these numbers are zeros."""
    av = pytest.importorskip("av")
    data = bytearray(video.read_bytes())
    with av.open(str(video)) as container:
        for number, packet in enumerate(container.demux(video=0)):
            if number in packets and packet.size:
                begin = data.index(bytes(packet), packet.pos)
                data[begin : begin + packet.size] = bytes(packet.size)
    target.write_bytes(data)
    return target


def test_a_packet_that_cannot_be_decoded_does_not_end_a_video(tmp_path: Path) -> None:
    pytest.importorskip("av")
    whole = write_video(tmp_path / "whole.avi", steps(12), codec="mjpeg")
    frames = list(open_source(str(damaged(whole, tmp_path / "cut.avi", {5}))).frames())
    assert [frame.index for frame in frames] == list(range(12))
    with pytest.raises(ImageError, match=r"cut\.avi: a frame cannot be decoded"):
        frames[5].image()
    assert np.asarray(frames[6].image()).shape == (24, 32, 3)
    nothing = open_source(str(damaged(whole, tmp_path / "nothing.avi", set(range(12)))))
    with pytest.raises(DataError, match=r"nothing\.avi: none of its 12 frames can be decoded"):
        list(nothing.frames())


def test_times_begin_with_the_first_packet_also_where_it_is_damaged(tmp_path: Path) -> None:
    pytest.importorskip("av")
    # As a part that was cut from a longer recording.
    later = write_video(tmp_path / "later.mkv", steps(3), codec="mjpeg", begin=100)
    for lost in (set[int](), {0}):
        frames = list(open_source(str(damaged(later, tmp_path / "damaged.mkv", lost))).frames())
        assert [frame.timestamp for frame in frames] == pytest.approx([0, 1 / 30, 2 / 30], abs=0.002)


@pytest.mark.parametrize("begins", [(0, 40_000), (40_000, 0)])
def test_recordings_that_were_joined_follow_one_another(tmp_path: Path, begins: tuple[int, int]) -> None:
    parts = [
        write_video(tmp_path / f"{number}.ts", steps(50), rate=25, codec="mpeg2video", begin=begin)
        for number, begin in enumerate(begins)
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    times = [frame.timestamp for frame in open_source(str(joined)).frames()]
    assert len(times) >= 98  # a decoder may lose one where the parts meet
    assert np.diff(times).min() > 0
    assert np.diff(times).max() < 0.2


def test_a_pause_in_a_video_whose_clock_is_never_set_is_kept(tmp_path: Path) -> None:
    frames = (np.zeros((24, 32, 3), np.uint8) for _ in range(2))
    path = write_video(tmp_path / "pause.mkv", frames, rate=1, every=100)
    assert [frame.timestamp for frame in open_source(str(path)).frames()] == [0.0, 100.0]


def test_ffmpeg_says_nothing_through_python(video: Path) -> None:
    av = pytest.importorskip("av")
    open_source(str(video)).close()
    assert av.logging.get_level() is None, "its messages would wait for Python's lock in FFmpeg's own threads"


def test_a_folder_gives_its_images_in_order_once(tmp_path: Path) -> None:
    folder = image_files(tmp_path / "in", "b.png", "a.jpg", ".hidden.png")
    (folder / "notes.txt").write_text("no image")
    frames = list(open_source(str(folder)).frames())
    assert [frame.file for frame in frames] == [folder / "a.jpg", folder / "b.png"]
    [one] = open_source(str(folder / "b.png")).frames()
    assert one.file == folder / "b.png"


def test_a_watched_folder_gives_what_comes_and_moves_what_is_done(tmp_path: Path) -> None:
    folder, done = image_files(tmp_path / "in", "a.png"), tmp_path / "done"
    source = open_source(str(folder), SourceOptions(watch=True, done=done))
    frames = source.frames()
    source.answered(next(frames))
    assert [path.name for path in done.iterdir()] == ["a.png"]
    image_files(folder, "a.png")  # another one of that name
    source.answered(next(frames))
    assert sorted(path.name for path in done.iterdir()) == ["a-1.png", "a.png"]
    source.close()
    assert list(frames) == []


def test_another_image_under_the_same_name_and_inode_is_answered(tmp_path: Path) -> None:
    folder = image_files(tmp_path / "in", "a.png")
    source = open_source(str(folder), SourceOptions(watch=True))
    frames = source.frames()
    assert next(frames).index == 0
    before = (folder / "a.png").stat()
    Image.new("RGB", (9, 9), "red").save(folder / "a.png")  # in place, so that the inode stays
    assert (folder / "a.png").stat().st_ino == before.st_ino
    assert (second := next(frames)).index == 1
    assert second.file == folder / "a.png"
    source.close()


def test_a_folder_below_that_vanishes_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = image_files(tmp_path / "in", "a.png")
    image_files(folder / "below", "b.png")
    scan = os.scandir

    def scandir(path: Path) -> object:
        if Path(path).name == "below":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return scan(path)

    monkeypatch.setattr("edgemate.core.image_search.os.scandir", scandir)
    assert [frame.file for frame in open_source(str(folder)).frames()] == [folder / "a.png"]
    with pytest.raises(FileNotFoundError):
        find_images(folder / "below", SOURCE_FILES)


def test_an_image_that_leaves_before_it_is_looked_at_is_no_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = image_files(tmp_path / "in", "a.png", "b.png")
    source = open_source(str(folder))
    listed = find_images(folder, SOURCE_FILES)
    (folder / "a.png").unlink()
    monkeypatch.setattr("edgemate.live.sources.folder.find_images", lambda *given: listed)
    assert [frame.file for frame in source.frames()] == [folder / "b.png"]


def test_a_read_of_standard_input_that_waits_ends_soon() -> None:
    read, write = os.pipe()
    source = StandardInput(descriptor=read)
    thread = threading.Thread(target=lambda: list(source.frames()))
    thread.start()
    source.close()
    thread.join(5)
    ended = not thread.is_alive()
    os.close(write)
    thread.join()
    os.close(read)
    assert ended


def test_what_is_done_takes_no_name_that_another_process_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = tmp_path / "done"
    source = open_source(str(image_files(tmp_path / "in", "a.png")), SourceOptions(done=done))
    image_files(done, "a.png")
    theirs = (done / "a.png").read_bytes() + b"theirs"
    (done / "a.png").write_bytes(theirs)
    monkeypatch.setattr(Path, "exists", lambda path, **_: path == done)  # it comes between a look and the move
    source.answered(next(source.frames()))
    monkeypatch.undo()
    assert sorted(path.name for path in done.iterdir()) == ["a-1.png", "a.png"]
    assert (done / "a.png").read_bytes() == theirs


def test_an_image_that_came_while_one_of_its_name_was_answered_is_not_moved(tmp_path: Path) -> None:
    folder, done = image_files(tmp_path / "in", "a.png"), tmp_path / "done"
    source = open_source(str(folder), SourceOptions(watch=True, done=done))
    frames = source.frames()
    first = next(frames)
    image_files(tmp_path / "other", "a.png")
    (tmp_path / "other/a.png").replace(folder / "a.png")
    source.answered(first)
    assert (folder / "a.png").is_file()
    source.answered(next(frames))
    assert [path.name for path in done.iterdir()] == ["a.png"]
    source.close()


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.EXDEV, "it is on another file system"), (errno.EACCES, "Permission denied")]
)
def test_a_place_that_images_cannot_be_moved_to_is_refused_before_any_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    def refuse(file: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number), str(target))

    monkeypatch.setattr("edgemate.live.sources.folder.move_to_new_name", refuse)
    folder, done = image_files(tmp_path / "in", "a.png"), tmp_path / "done"
    with pytest.raises(UsageError, match=f"done {done}: images of {folder} cannot be moved there: {reason}"):
        open_source(str(folder), SourceOptions(done=done))
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "a.png"]


def test_standard_input_gives_encoded_images_and_one_cut_short_is_an_error() -> None:
    whole = jpeg(3)
    frames = piped(whole + b"\r\n--frame\r\n" + whole + whole[: len(whole) // 3] + whole[:-50])
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert all(frame.timestamp is not None for frame in frames)
    assert np.asarray(frames[1].image()).shape == (24, 32, 3)
    contract = CONTRACT.model_copy(update={"resize": None, "center_crop": None})
    for frame in frames[2:]:
        with pytest.raises(
            ImageError, match=r"^standard input: an image of [\d,]+ bytes: cannot be decoded: .*[Tt]runc"
        ):
            Preprocessor(contract).prepare(frame.image())
    [damaged] = piped(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ImageError, match="standard input: an image of 8 bytes: cannot be decoded: it is cut short or"):
        damaged.image()


@pytest.mark.parametrize(("raw", "shape"), [("4x3", (3, 4, 3)), ("4x3:rgb", (3, 4, 3)), ("4x3:gray", (3, 4))])
def test_standard_input_gives_raw_frames(raw: str, shape: tuple[int, ...]) -> None:
    pixels = np.arange(2 * int(np.prod(shape)), dtype=np.uint8).reshape(2, *shape)
    frames = piped(pixels.tobytes() + b"rest", raw)
    assert np.array_equal(np.stack([np.asarray(frame.image()) for frame in frames[:2]]), pixels)
    with pytest.raises(ImageError, match="ends with 4 of a frame's"):
        frames[2].image()


class Capture:
    """What OpenCV would give: two BGR frames, then no more."""

    opened: str = ""
    released: int = 0

    def __init__(self, pipeline: str, api: int) -> None:
        Capture.opened, self.left = pipeline, 2

    def isOpened(self) -> bool:  # noqa: N802
        return "broken" not in self.opened

    def get(self, what: int) -> float:
        return 25.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return (self.left >= 0, np.full((2, 2, 3), (1, 2, 3), np.uint8) if self.left >= 0 else None)

    def release(self) -> None:
        Capture.released += 1


@pytest.fixture
def opencv(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    Capture.released = 0
    module = types.ModuleType("cv2")
    built = "  GStreamer:                   YES (1.20.3)\n"
    for name, value in {
        "VideoCapture": Capture,
        "CAP_GSTREAMER": 1800,
        "CAP_PROP_FPS": 5,
        "__version__": "4.8.0",
        "getBuildInformation": lambda: built,
    }.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "cv2", module)
    return module


def test_a_pipeline_gives_rgb_and_gets_a_sink(opencv: types.ModuleType) -> None:
    source = open_source("gst:videotestsrc")
    assert Capture.opened.startswith("videotestsrc ! videoconvert ! ")
    assert "appsink drop=true max-buffers=1" in Capture.opened
    assert (source.live, source.period) == (True, 0.04)
    frames = list(source.frames())
    assert [np.asarray(frame.image())[0, 0].tolist() for frame in frames] == [[3, 2, 1]] * 2
    assert Capture.released == 1, "at its end"
    stopped = open_source("gst:videotestsrc").frames()
    next(stopped)
    stopped.close()
    assert Capture.released == 2, "so that another process can have the camera"
    open_source("gst:videotestsrc ! appsink")
    assert Capture.opened == "videotestsrc ! appsink"
    with pytest.raises(DataError, match="GStreamer cannot start it"):
        open_source("gst:broken")


def test_an_opencv_without_gstreamer_is_one_clear_error(opencv: types.ModuleType) -> None:
    opencv.getBuildInformation = lambda: "  GStreamer:                   NO\n"  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"built with GStreamer.*OpenCV 4.8.0 here has none"):
        open_source("gst:videotestsrc")
    sys.modules["cv2"] = None  # type: ignore[assignment]
    with pytest.raises(UsageError, match="no OpenCV can be imported"):
        open_source("gst:videotestsrc")


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("", {}, "source: is empty; give camera:0"),
        ("nowhere.mp4", {}, "source nowhere.mp4: no such file or folder; give camera:0"),
        ("rtmp://me:secret@host/x", {}, "source rtmp://host/x: streams are read from addresses that"),
        ("camera:front", {}, "source 'camera:front': give"),
        ("gst:  ", {}, "source 'gst:': give a pipeline"),
        ("-", {"raw": "640"}, "raw '640': give WIDTHxHEIGHT"),
        ("-", {"raw": "0x4"}, "raw '0x4': give WIDTHxHEIGHT"),
        ("-", {"raw": "99999x99999"}, "raw 99999x99999: the limits are"),
        ("-", {"watch": True}, "`watch` is for a folder of images, and the source is -"),
        ("camera:0", {"done": Path("x")}, "`done` is for a folder of images"),
        ("rtsp://me:secret@host/x", {"raw": "4x4"}, "`raw` is for standard input (-), and the source is rtsp://host/x"),
    ],
)
def test_what_cannot_be_a_source(text: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as error:
        open_source(text, SourceOptions(**options))  # type: ignore[arg-type]
    assert str(error.value).startswith(said)


def test_what_cannot_be_opened_is_one_line_without_the_password(tmp_path: Path) -> None:
    pytest.importorskip("av")
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "playlist.mp4").write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    for text, said in (
        (str(tmp_path / "text.mp4"), "text.mp4: cannot be opened"),
        (str(tmp_path / "playlist.mp4"), "playlist.mp4: "),
        ("rtsp://me:secret@127.0.0.1:9/x", "rtsp://127.0.0.1:9/x: cannot be opened: Connection refused"),
        ("camera:/dev/nothing", "camera /dev/nothing: cannot be opened: No such file"),
    ):
        with pytest.raises(DataError) as error:
            list(open_source(text).frames())
        assert said in str(error.value)
        assert "secret" not in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://host/x", "rtsp://host/x"),
        ("rtsp://host:554/x?y=1", "rtsp://host:554/x?y=1"),
        ("rtsp://me:secret@host:554/x", "rtsp://host:554/x"),
        ("rtsp://me:secret@secret@host/x", "rtsp://host/x"),
        ("rtsp://me:secret/secret@host/x", "rtsp://host/x"),
        ("rtsp://me:secret?secret@host/x", "rtsp://host/x"),
        ("rtsp://me@host/cam@2", "rtsp://host/cam@2"),
        ("rtsp://host/cam@2", "rtsp://host/cam@2"),
        ("no url: a@b", "no url: a@b"),
    ],
)
def test_a_password_is_not_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_a_stream_that_ends_without_a_frame_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("av")
    image_files(tmp_path, "snapshot.jpg")  # read to its end while it is opened, as a camera's snapshot
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            source = open_source(f"http://127.0.0.1:{server.server_port}/snapshot.jpg")
            with pytest.raises(DataError, match=r"snapshot\.jpg: ends without a frame$"):
                list(source.frames())
        finally:
            server.shutdown()


def test_without_pyav_the_error_says_what_to_install(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UsageError, match=r"steps.mp4: needs PyAV.*pip install av"):
        open_source(str(video))


def test_a_folder_without_images_or_with_done_in_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no images"):
        open_source(str(tmp_path))
    image_files(tmp_path, "a.png")
    with pytest.raises(UsageError, match=r"done .*: must not lie in the folder"):
        open_source(str(tmp_path), SourceOptions(done=tmp_path / "done"))
    assert issubclass(type(open_source(str(tmp_path))), Source)


def test_a_folder_is_not_searched_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for watch in (False, True):
        with pytest.raises(UsageError, match=r"^/: is the root of the file system; name the folder that holds"):
            open_source("/", SourceOptions(watch=watch))
    (tmp_path / "up").symlink_to("/")
    with pytest.raises(UsageError, match=r"up: is the root of the file system"):
        open_source(str(tmp_path / "up"))
    image_files(tmp_path / "in", "a.png", "b.png", "c.png")
    assert open_source(str(tmp_path / "in")).remark is None
    assert open_source(str(tmp_path / "in" / "a.png")).remark is None
    (tmp_path / "in").rename(image_files(tmp_path / "outer") / "in")
    said = f"{tmp_path / 'outer'}: has no images itself; 3 images in folders below it"
    assert open_source(str(tmp_path / "outer")).remark == said
    monkeypatch.setattr("edgemate.live.sources.folder.SOURCE_FILES", Limit(2, "file", ""))
    with pytest.raises(DataError, match=r"in: has more than 2 files, which is the limit; name the folder that holds"):
        open_source(str(tmp_path / "outer" / "in"))


def test_a_stream_without_any_image_is_an_error() -> None:
    with pytest.raises(DataError, match="no image was found in 3,000 bytes; give JPEG or PNG"):
        piped(b"abc" * 1000)
    for raw in (None, "4x3"):
        with pytest.raises(DataError, match="standard input: is empty; give JPEG or PNG"):
            piped(b"", raw)


def test_a_port_that_cannot_be_and_long_names() -> None:
    for port in ("65536", "99999999999999999999"):
        with pytest.raises(UsageError, match="is above 65535"):
            open_source(f"udp://127.0.0.1:{port}")
    for text in ("x" * 5000, "x\0", "camera:" + "x" * 5000, "udp://host:70000/" + "x" * 5000):
        with pytest.raises(UsageError) as error:
            open_source(text)
        assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{video}\n#EXT-X-ENDLIST\n"),
        ("list.ffconcat", "ffconcat version 1.0\nfile '{name}'\n"),
    ],
)
def test_a_playlist_opens_no_other_file(video: Path, tmp_path: Path, name: str, text: str) -> None:
    other = tmp_path / "private.mp4"
    other.write_bytes(video.read_bytes())
    (tmp_path / name).write_text(text.format(video=other, name=other.name))
    with pytest.raises(DataError, match=f"{name}: is a playlist, or no video file that is read here"):
        open_source(str(tmp_path / name))


def test_a_pattern_of_names_opens_no_other_file(tmp_path: Path) -> None:
    pytest.importorskip("av")
    for number in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"frame{number:03}.tga")
    (tmp_path / "frame%03d.tga").write_bytes((tmp_path / "frame000.tga").read_bytes())
    with pytest.raises(DataError, match="no video file that is read here"):
        open_source(str(tmp_path / "frame%03d.tga"))


@pytest.mark.parametrize("name", ["steps.mkv", "steps.avi", "steps.mov", "steps.ts", "steps.webm", "steps.mpg"])
def test_usual_video_files_are_read(tmp_path: Path, name: str) -> None:
    codec = {".webm": "libvpx", ".mpg": "mpeg2video"}.get(Path(name).suffix, "mpeg4")
    if codec not in pytest.importorskip("av").codecs_available:
        pytest.skip(f"PyAV has no {codec}")
    source = open_source(str(write_video(tmp_path / name, steps(40), rate=25, codec=codec)))
    assert len(list(source.frames())) == 40


def test_answered_images_are_not_moved_into_a_bundle(small_bundle: Bundle, tmp_path: Path) -> None:
    folder = image_files(tmp_path / "in", "a.png")
    for done in (small_bundle.path, small_bundle.path / "onnx" / "done"):
        with pytest.raises(UsageError, match=r"done .*: is inside the bundle"):
            open_source(str(folder), SourceOptions(done=done))
    assert [path.name for path in folder.iterdir()] == ["a.png"]
