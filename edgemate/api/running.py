"""`run`: a resident process that answers the frames of a camera, video, folder or pipe."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, get_args

if TYPE_CHECKING:
    from edgemate.api.opening import BundleLike, PathLike
    from edgemate.live import LiveAnswer, LiveReport
    from edgemate.live.ready import LoadOptions
    from edgemate.live.replacement import Fingerprint, Replacement
    from edgemate.live.sources import SourceOptions
    from edgemate.live.sources.base import Pace, Source
    from edgemate.policies import Policy
    from edgemate.runtime.classifier import OnFailure


def run(
    bundle: BundleLike,
    source: PathLike,
    policy: str | Policy | None = None,
    *,
    threshold: float | None = None,
    exit: int | None = None,
    deadline_ms: float | None = None,
    pace: Pace | None = None,
    max_age_ms: float | None = None,
    still: float | None = None,
    overlay: PathLike | None = None,
    frames: int | None = None,
    watch: bool = False,
    done: PathLike | None = None,
    raw: str | None = None,
    every: float | None = None,
    reload: bool = True,
    backend: str = "onnxruntime",
    threads: int | None = None,
    trusted_keys: PathLike | None = None,
    trust_engines: bool = False,
    on_failure: OnFailure = "raise",
    notify: Callable[[LiveAnswer], None] | None = None,
    report: Callable[[LiveReport], None] | None = None,
    note: Callable[[str], None] | None = None,
    stops: Callable[[], bool] | None = None,
    asks_report: Callable[[], bool] | None = None,
) -> LiveReport:
    """Answer the frames of a source one at a time, until it ends or the call is told to stop (docs/live.md).

    A thread reads the source. With pace `real`, the latest frame is answered and those that came meanwhile are skipped
    and counted, so answers never lag. With `fastest` every frame is answered, and the source waits.

    Args:
        bundle: a bundle's folder, whose hashes are checked, or a Bundle.
        source: `camera:0`, `gst:PIPELINE`, `rtsp://…` or another URL, a video file, an image folder, or `-`.
        policy: name of an operating point of the bundle, or an exit policy; the whole network runs if nothing is given.
        threshold: stop where the probability is above this, 0 to 1.
        exit: answer at this exit always, counted from 1.
        deadline_ms: per frame: stop where the next segment would end later than this; alone or with one of the above.
        pace: `real` or `fastest`; if None, `fastest` for a folder and standard input, else `real`.
        max_age_ms: skip a frame that is older than this when its turn comes; for a video file the time between two
            frames if None. With pace `real` only.
        still: a frame whose features after segment 1 differ by at most this from those of the last one that was
            computed keeps its answer; None computes every frame. 0.05 is 5 % of the features' mean absolute value.
        overlay: `window`, or a video file to write.
        frames: stop after so many answers; frames that cannot be read are not counted.
        watch: a folder: wait for new images instead of ending.
        done: a folder: where images are moved once they are answered.
        raw: standard input: frames of raw pixels of this size, `640x480` for RGB or `640x480:gray`.
        every: seconds between two calls of `report`.
        reload: load, prove and use a bundle that takes the place of this one.
        backend: what runs the graphs.
        threads: CPU threads; all usable cores if None. TensorRT has no use for them.
        trusted_keys: a file or folder of public keys; this and every later bundle must be signed by one of them.
        trust_engines: run the bundle's engines whoever built them.
        on_failure: `degrade` answers with an earlier exit where a segment fails; see `AnytimeClassifier.load`.
        notify: called with each answer at once.
        report: called with the counts, as `every` and `asks_report` say.
        note: called with a line when a new bundle was taken, or was not.
        stops: asked between two frames; true ends the call.
        asks_report: asked between two frames; true calls `report`.

    Returns:
        The counts of it all.

    Raises:
        BundleError: the bundle cannot be used.
        BackendError: the backend is not installed or cannot run this bundle.
        DataError: the source cannot be opened, or fails.
        UsageError: there is no such source, or an option cannot be used.

    Example:
        >>> found = edgemate.run("bundles/digits", "images/digits", "balanced", threads=1)
        >>> print(found.summary)  # doctest: +SKIP
        12 frames: 12 answered; an answer took 0.61 ms on average, …
    """
    from edgemate.api.choosing import StopChoice
    from edgemate.api.opening import open_bundle
    from edgemate.errors import UsageError
    from edgemate.live import LiveReport
    from edgemate.live.latest_frame import FrameReader
    from edgemate.live.overlay import check_overlay, open_overlay
    from edgemate.live.ready import LoadOptions, load
    from edgemate.live.resident import Resident, Told
    from edgemate.live.sources import SourceOptions
    from edgemate.live.sources.base import Pace

    # What is wrong and needs no backend to be found comes first: importing it takes time.
    choice = StopChoice(policy, threshold, exit, deadline_ms)
    if pace is not None and pace not in get_args(Pace):
        raise UsageError(f"pace: must be {' or '.join(map(repr, get_args(Pace)))}, not {pace!r}")
    for name, number in (("max_age_ms", max_age_ms), ("every", every), ("frames", frames)):
        if number is not None and not number > 0:
            raise UsageError(f"{name}: must be above 0, not {number}")
    if still is not None and not (still >= 0 and math.isfinite(still)):
        raise UsageError(f"still: must be 0 or more, such as 0.05, not {still}")
    for name, when in (("every", every), ("asks_report", asks_report)):
        if when is not None and report is None:
            raise UsageError(f"{name}: says when `report` is called, and there is none; give both")
    given = os.fspath(source)
    if overlay is not None:
        check_overlay(os.fspath(overlay), given)
    before = _fingerprint(bundle)
    opened = open_bundle(bundle, trusted_keys=trusted_keys, trust_engines=trust_engines)
    if reload and trusted_keys is None and opened.trust.signer is not None:
        raise UsageError(
            "reload: a bundle that takes the place of this one must be signed too; give trusted_keys, or reload=False"
        )
    options = LoadOptions(
        choose=choice.policy_of,
        operating_point=choice.operating_point,
        layout="segments"
        if still is not None
        else choice.layout(opened, on_failure),  # whose first one has the features
        still=still,
        backend=backend,
        threads=threads,
        trusted_keys=trusted_keys,
        trust_engines=trust_engines or opened.trust.engines,
        on_failure=on_failure,
    )
    options.choose(opened)
    if _is_pipe(given):
        (note or _ignore)(f"source {given}: is a pipe, which is read once a program writes to it")
    wanted = SourceOptions(watch, None if done is None else Path(os.fspath(done)), raw)
    opened_source = _open_source(given, wanted, stops or _never)
    if opened_source is None:
        return LiveReport()
    if opened_source.remark is not None:
        (note or _ignore)(opened_source.remark)
    shown = None
    try:
        if pace == "real" and not opened_source.live and opened_source.usual_pace == "fastest":
            raise UsageError("pace 'real': images in a folder have no times; leave it out")
        if max_age_ms is not None and (pace or opened_source.usual_pace) == "fastest":
            raise UsageError("max_age_ms: with pace 'fastest' every frame is answered, however old; leave it out")
        shown = None if overlay is None else open_overlay(os.fspath(overlay))
        ready = load(opened, options, proved=False)
    except BaseException:
        opened_source.close()
        if shown is not None:
            shown.close()
        raise
    oldest = opened_source.period if max_age_ms is None and not opened_source.live else None
    resident = Resident(
        ready,
        FrameReader(opened_source, pace=pace, max_age=oldest if max_age_ms is None else max_age_ms / 1e3),
        Told(notify or _ignore, report or _ignore, note or _ignore),
        replacement=_replacement(opened.path, before, options) if reload else None,
        overlay=shown,
        every=every,
        stops=stops or _never,
        asks_report=asks_report or _never,
    )
    return resident.run(frames)


def _is_pipe(given: str) -> bool:
    try:
        return given != "-" and Path(given).is_fifo()
    except (OSError, ValueError):  # too long for a name, or with a null byte
        return False


def _open_source(given: str, options: SourceOptions, stops: Callable[[], bool]) -> Source | None:
    """The source; None if a stop was asked for before it could be opened, such as a stream that sends nothing."""
    from edgemate.live.sources import open_source

    lock, done, left = threading.Lock(), threading.Event(), False
    found: list[Source] = []
    problems: list[BaseException] = []

    def work() -> None:
        try:
            source = open_source(given, options)
            with lock:
                if left:
                    source.close()
                else:
                    found.append(source)
        except BaseException as error:
            problems.append(error)
        finally:
            done.set()

    threading.Thread(target=work, name="source", daemon=True).start()
    try:
        while not done.wait(0.05):
            if stops():
                return None
        if problems:
            raise problems[0]
        return found.pop()
    finally:
        with lock:
            left = True
            for source in found:
                source.close()


def _replacement(path: Path, before: Fingerprint, options: LoadOptions) -> Replacement:
    from edgemate.live.ready import load
    from edgemate.live.replacement import Replacement

    return Replacement(path, before, lambda: load(str(path), options, proved=True))


def _fingerprint(bundle: BundleLike) -> Fingerprint:
    """Taken before the bundle is opened, so that one that replaces it meanwhile is noticed."""
    from edgemate.bundle import Bundle
    from edgemate.live.replacement import fingerprint

    return fingerprint(bundle.path if isinstance(bundle, Bundle) else Path(os.fspath(bundle)))


def _ignore(_: object) -> None: ...


def _never() -> bool:
    return False
