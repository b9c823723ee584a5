"""The loop: one answer per frame, and a new bundle takes over without a gap, or is refused."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from bundles import write_small_bundle
from PIL import Image

import edgemate
from edgemate.api.running import run
from edgemate.bundle import Bundle
from edgemate.errors import DataError, UsageError
from edgemate.live import LiveAnswer, LiveReport, replacement
from edgemate.live.overlay import drawn, open_overlay
from edgemate.live.replacement import fingerprint
from edgemate.policies import Confidence
from edgemate.swapping import new_folder, put_in_place

pytest.importorskip("onnxruntime")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(6):
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


def test_when_to_report_needs_whom(small_bundle: Bundle, images: Path) -> None:
    for name, options in (("every", {"every": 5.0}), ("asks_report", {"asks_report": lambda: True})):
        with pytest.raises(UsageError, match=f"{name}: says when `report` is called, and there is none"):
            edgemate.run(small_bundle, images, threads=1, **options)  # type: ignore[arg-type]


def test_the_answers_are_those_of_classify(small_bundle: Bundle, images: Path) -> None:
    answers: list[LiveAnswer] = []
    report = edgemate.run(small_bundle, images, "balanced", threads=1, notify=answers.append)
    expected = edgemate.classify(small_bundle, images, "balanced", threads=1)
    assert [answer.file for answer in answers] == [answer.image for answer in expected.answers]
    for answer, (_, prediction) in zip(answers, expected.predictions, strict=True):
        assert answer.prediction is not None
        assert (answer.prediction.label, answer.prediction.exit) == (prediction.label, prediction.exit)
        assert answer.latency_ms >= answer.age_ms >= 0
        assert json.loads(json.dumps(answer.to_json()))["label"] == prediction.label
    assert (report.frames, report.answered, report.replaced, report.unreadable) == (6, 6, 0, 0)
    assert sum(report.exits.values()) == 6
    assert "6 frames: 6 answered" in report.summary
    assert json.loads(json.dumps(report.to_json()))["answered"] == 6


def test_a_damaged_image_is_an_answer_with_an_error(small_bundle: Bundle, images: Path) -> None:
    (images / "2.png").write_bytes(b"no image")
    answers: list[LiveAnswer] = []
    report = run(small_bundle, images, threads=1, notify=answers.append)
    assert [answer.error is None for answer in answers] == [True, True, False, True, True, True]
    assert "2.png" in answers[2].to_json()["error"]
    assert (report.answered, report.unreadable) == (5, 1)
    report = run(small_bundle, images, threads=1, frames=3)
    assert (report.answered, report.unreadable) == (3, 1), "one that cannot be read is no answer"


def test_a_signed_bundle_is_replaced_by_signed_ones_only(own_bundle: Path, images: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    edgemate.api.make_keys(tmp_path / "own.key", tmp_path / "own.pub")
    edgemate.api.sign_bundle(own_bundle, tmp_path / "own.key")
    signed = Bundle.open(own_bundle, trusted_keys=tmp_path / "own.pub")
    with pytest.raises(UsageError, match="reload: a bundle that takes the place of this one must be signed too"):
        edgemate.run(signed, images, threads=1)
    assert edgemate.run(signed, images, threads=1, reload=False).answered == 6
    assert edgemate.run(signed, images, threads=1, trusted_keys=tmp_path / "own.pub").answered == 6


def test_frames_that_repeat_keep_their_answer(small_bundle: Bundle, images: Path) -> None:
    for number in range(6):
        shutil.copy(images / "0.png", images / f"0-{number}.png")
    answers: list[LiveAnswer] = []
    report = run(small_bundle, images, Confidence(1.0), still=0.001, threads=1, notify=answers.append)
    assert report.still == 6
    assert sum(report.exits.values()) == report.answered - report.still
    assert len({answer.prediction.label for answer in answers[:7] if answer.prediction}) == 1
    assert [answer.to_json().get("still") for answer in answers[:7]].count(True) == 6


def test_a_deadline_is_told_and_frames_end_it(small_bundle: Bundle, images: Path) -> None:
    answers: list[LiveAnswer] = []
    report = run(small_bundle, images, deadline_ms=1e-6, frames=3, threads=1, notify=answers.append)
    assert [answer.late for answer in answers] == [True] * 3
    assert report.late == 3
    assert report.exits == {1: 3}


def test_a_video_is_answered_in_time_and_an_overlay_has_its_frames(
    small_bundle: Bundle, video: Path, tmp_path: Path
) -> None:
    av = pytest.importorskip("av")
    answers: list[LiveAnswer] = []
    started = time.monotonic()
    report = run(small_bundle, video, "fast", threads=1, overlay=tmp_path / "out.mp4", notify=answers.append)
    assert time.monotonic() - started > 19 * 0.04
    assert report.frames == 20 == report.answered + report.replaced + report.too_old + report.unanswered
    assert report.oldest_ms <= 40
    assert report.answered > 0
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == report.answered
    every = run(small_bundle, video, pace="fastest", threads=1)
    assert every.answered == 20


def test_the_overlay_draws_a_line_and_refuses_other_files(small_bundle: Bundle, images: Path) -> None:
    answers: list[LiveAnswer] = []
    run(small_bundle, images / "0.png", threads=1, notify=answers.append)
    frame = np.full((240, 320, 3), 128, np.uint8)
    shown = np.asarray(drawn(frame, answers[0]))
    assert shown.shape == frame.shape
    assert (shown[:200] == 128).all()
    assert {0, 255} <= set(np.unique(shown[-14:]).tolist())
    with pytest.raises(UsageError, match=r"overlay 'out.txt': give window, or a file"):
        open_overlay("out.txt")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"policy": "fast", "exit": 1}, "exclude each other"),
        ({"pace": "slow"}, "pace: must be 'real' or 'fastest'"),
        ({"pace": "real"}, "images in a folder have no times"),
        ({"max_age_ms": 5.0}, "max_age_ms: with pace 'fastest' every frame is answered"),
        ({"still": -1.0}, "still: must be 0 or more"),
        ({"every": 0.0}, "every: must be above 0"),
        ({"frames": 0}, "frames: must be above 0"),
        ({"policy": "fastt"}, "fastt"),
    ],
)
def test_what_cannot_be_is_refused(small_bundle: Bundle, images: Path, options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        run(small_bundle, images, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("watch", [False, True])
def test_images_are_shown_before_they_are_moved(
    small_bundle: Bundle, images: Path, tmp_path: Path, watch: bool
) -> None:
    av = pytest.importorskip("av")
    count = len(list(images.iterdir()))
    overlay, done = tmp_path / "out.mp4", tmp_path / "done"
    report = run(small_bundle, images, threads=1, overlay=overlay, done=done, watch=watch, frames=count)
    assert report.answered == count == len(list(done.iterdir()))
    with av.open(str(overlay)) as container:
        assert sum(1 for _ in container.decode(video=0)) == count


def test_an_image_that_leaves_before_it_is_shown_is_answered(
    small_bundle: Bundle, images: Path, tmp_path: Path
) -> None:
    pytest.importorskip("av")
    report = run(
        small_bundle,
        images,
        threads=1,
        overlay=tmp_path / "out.mp4",
        notify=lambda answer: answer.file.unlink() if answer.frame == 1 and answer.file else None,
    )
    assert (report.answered, report.unreadable) == (len(list(images.iterdir())) + 1, 0)


class Watched:
    """A run of a folder that is watched, in a thread, until it is stopped."""

    def __init__(self, bundle: Path, images: Path, **options: object) -> None:
        self.notes: list[str] = []
        self.answers: list[LiveAnswer] = []
        self.reports: list[LiveReport] = []
        self.stop = self.ask = False
        self.result: LiveReport | BaseException | None = None
        self.thread = threading.Thread(target=self._run, args=(bundle, images, options))
        self.thread.start()

    def _run(self, bundle: Path, images: Path, options: dict[str, object]) -> None:
        try:
            self.result = run(
                bundle,
                images,
                watch=True,
                threads=1,
                notify=self.answers.append,
                report=self.reports.append,
                note=self.notes.append,
                stops=lambda: self.stop,
                asks_report=lambda: self.ask,
                **options,  # type: ignore[arg-type]
            )
        except BaseException as error:
            self.result = error

    def wait_for(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + 20
        while not condition() and time.monotonic() < until and self.thread.is_alive():
            time.sleep(0.01)
        assert condition(), (self.notes, self.result)

    def end(self) -> LiveReport:
        self.stop = True
        self.thread.join(20)
        assert isinstance(self.result, LiveReport), self.result
        return self.result


@pytest.fixture
def watched(own_bundle: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr(replacement, "POLL_SECONDS", 0.05)
    found = Watched(own_bundle, images, policy="fast")
    found.wait_for(lambda: len(found.answers) == 6)
    yield found
    found.stop = True
    found.thread.join(20)


def one_more(watched: Watched, images: Path) -> LiveAnswer:
    before = len(watched.answers)
    shutil.copy(images / "0.png", images / f".{before}")
    (images / f".{before}").rename(images / f"more-{before}.png")
    watched.wait_for(lambda: len(watched.answers) > before)
    return watched.answers[-1]


def replace(bundle: Path, **changes: object) -> None:
    with new_folder(bundle) as folder:
        write_small_bundle(folder / "new", **changes)
        put_in_place(folder / "new", bundle)


def test_a_new_bundle_takes_over(watched: Watched, own_bundle: Path, images: Path) -> None:
    classes = tuple(f"other {k}" for k in range(len(Bundle.open(own_bundle).manifest.classes)))
    replace(own_bundle, classes=classes)
    watched.wait_for(lambda: bool(watched.notes))
    assert "the new bundle has taken over" in watched.notes[0]
    answer = one_more(watched, images)
    assert answer.prediction is not None
    assert answer.prediction.label in classes
    found = watched.end()
    assert (found.reloads, found.refused, found.answered) == (1, 0, 7)


def test_a_bundle_that_is_damaged_or_wrong_is_refused_and_the_old_one_goes_on(
    watched: Watched, own_bundle: Path, images: Path, tmp_path: Path
) -> None:
    labels = Bundle.open(own_bundle).manifest.classes
    spoiled = own_bundle / "onnx" / "segment_2.onnx"
    spoiled.write_bytes(spoiled.read_bytes()[:-1])  # in place, as a copy that broke off
    watched.wait_for(lambda: len(watched.notes) == 1)
    assert "a new bundle was not taken, the one before goes on" in watched.notes[0]
    assert "segment_2.onnx" in watched.notes[0]
    assert one_more(watched, images).prediction.label in labels  # type: ignore[union-attr]

    # Whole, but its graphs do not compute what its golden samples say.
    wrong = tmp_path / "wrong"
    write_wrong_bundle(wrong)
    put_in_place(wrong, own_bundle)
    watched.wait_for(lambda: len(watched.notes) == 2)
    assert "the largest difference from the network" in watched.notes[1]
    assert one_more(watched, images).prediction.label in labels  # type: ignore[union-attr]

    replace(own_bundle)
    watched.wait_for(lambda: len(watched.notes) == 3)
    assert "has taken over" in watched.notes[2]
    found = watched.end()
    assert (found.reloads, found.refused) == (1, 2)


def write_wrong_bundle(target: Path) -> None:
    from edgemate import files
    from edgemate.bundle import BundleMetadata, BundleWriter

    good = write_small_bundle(target.parent / "good")
    golden = good.golden()
    with BundleWriter(target) as writer:
        for name in ("onnx", "policies.json", "calibration.npz"):
            source = good.path / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, writer.path / name)
        arrays = {"images": golden.images, "labels": golden.labels, "logits": golden.logits + 3}
        files.write_arrays(writer.path / "golden.npz", arrays)
        writer.finish(BundleMetadata.model_validate(good.manifest.model_dump(exclude={"files"})))


def test_counts_are_reported_when_asked_for(watched: Watched) -> None:
    watched.ask = True
    watched.wait_for(lambda: bool(watched.reports))
    assert watched.reports[0].answered == 6
    assert watched.end().answered == 6


def test_a_source_that_fails_ends_it(own_bundle: Path, images: Path) -> None:
    found = Watched(own_bundle, images)
    found.wait_for(lambda: len(found.answers) == 6)
    shutil.rmtree(images)
    found.thread.join(20)
    assert isinstance(found.result, DataError)
    assert "images: cannot be read" in str(found.result)


def test_a_fingerprint_tells_any_change(own_bundle: Path, tmp_path: Path) -> None:
    before = fingerprint(own_bundle)
    assert before == fingerprint(own_bundle) != ()
    (own_bundle / ".being.written").write_text("x")
    assert fingerprint(own_bundle) == before
    policies = own_bundle / "policies.json"
    policies.with_name(".new").write_bytes(policies.read_bytes())
    policies.with_name(".new").rename(policies)
    assert fingerprint(own_bundle) != before
    assert fingerprint(tmp_path / "nowhere") == ()
