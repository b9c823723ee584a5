"""`evaluate`: what operating points really do, beside what calibration predicted."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgemate.api.evaluations import (
    Evaluation,
    FullAccuracy,
    MeasuredFigures,
    PointEvaluation,
    PredictedFigures,
    PredictedTimes,
)
from edgemate.progress import SILENT, Progress

if TYPE_CHECKING:
    from edgemate.api.opening import BundleLike, PathLike, RunLike
    from edgemate.api.run_evaluation import RunEvaluation
    from edgemate.bundle import Bundle
    from edgemate.calibration import OperatingPoint, OperatingPoints
    from edgemate.latency_tables import LatencyTable
    from edgemate.runtime import AnytimeClassifier, Measured
    from edgemate.runtime.labeled import LabeledImages

TIME_GAP = 0.10
"""A measured time further than this from the predicted one is marked, as a fraction of that."""

BATCH_SIZE = 16
"""Measured beside 1, where the engines take as many."""

FULL_GAP, FULL_GAP_ROUNDED = 0.001, 0.01
"""How far the whole network may be from the accuracy that training recorded on the same images, as a fraction.

A float32 graph answers as the network does but for ties; others may differ as much as export lets them."""


def evaluate(
    bundle: BundleLike | RunLike,
    policies: Sequence[str] | None = None,
    *,
    split: str | None = None,
    thresholds: Sequence[float] | None = None,
    data: PathLike | LabeledImages | None = None,
    images: int | None = None,
    batch: int | None = None,
    backend: str | None = None,
    threads: int | None = None,
    against: BundleLike | None = None,
    trusted_keys: PathLike | None = None,
    trust_engines: bool = False,
    exact_pixels: bool = False,
    progress: Progress = SILENT,
) -> Evaluation | RunEvaluation:
    """Classify the test split with skipping, in the runtime, and compare with what was predicted.

    Of a run, evaluate every exit by the logits that training stored; that takes `split` and `thresholds` and no
    other option.

    Args:
        bundle: a bundle's folder, whose hashes are checked, or a Bundle; or a run's folder or a Run.
        policies: names of operating points; all of the bundle's if None.
        split: of a run: `calibration`, `test` or `target_test`; `test` if None.
        thresholds: of a run: also simulate stopping above these confidences, one per exit but the last, or one for all.
        data: a folder of images, with one folder per class if labeled, an `.npz` file, or LabeledImages. If None, the
            test split that the bundle names, which for some datasets needs edgemate[train].
        images: only this many, spread evenly; all if None.
        batch: batch size measured beside 1, at most all images; if None 16, or the most that the engines take.
        backend: what runs the graphs; `onnxruntime` if None.
        threads: CPU threads; all usable cores if None. TensorRT has no use for them.
        against: report drift from the operating points of this bundle; of `bundle` itself if None.
        trusted_keys: a file or folder of public keys; the bundle must be signed by one of them.
        trust_engines: run the bundle's engines whoever built them.
        exact_pixels: give very large images the pixels of training, too, which takes longer.
        progress: receives the steps and how far each is.

    Returns:
        Predicted and measured figures of every operating point, and the report of every exit where labels are known;
        of a run a RunEvaluation.

    Raises:
        BundleError: a bundle cannot be used.
        RunError: the run has not finished, or its logits cannot be read.
        BackendError: the backend is not installed or cannot run this bundle.
        DataError: an image cannot be read, or labels are not the bundle's classes.
        UsageError: an unknown operating point or split, test images that cannot be found, a batch beyond what the
            engines take, or an option that is not for runs, or not for bundles.

    Example:
        >>> evaluation = edgemate.evaluate("bundles/digits", ["balanced"], images=100, threads=1)
        >>> evaluation.points[0].measured[0].accuracy  # doctest: +SKIP
        0.99
    """
    from edgemate.api.opening import is_run_folder, open_bundle, open_run
    from edgemate.api.run_evaluation import evaluate_run
    from edgemate.runs import Run

    if isinstance(bundle, Run) or is_run_folder(bundle):
        for_bundles: dict[str, Any] = {"policies": policies, "data": data, "images": images, "batch": batch}
        for_bundles |= {"backend": backend, "threads": threads, "against": against}
        for_bundles |= {"trusted_keys": trusted_keys, "trust_engines": trust_engines or None}
        for_bundles |= {"exact_pixels": exact_pixels or None}
        _refuse(bundle, for_bundles, "a run is evaluated by its stored logits; export it, and evaluate the bundle")
        return evaluate_run(open_run(bundle), split or "test", thresholds)
    _refuse(
        bundle,
        {"thresholds": thresholds},
        "for runs only; calibrate the bundle with these thresholds, then evaluate its operating point custom",
    )
    _refuse(bundle, {"split": split}, "for runs only; a bundle is evaluated on its test split, or on `data`")

    from edgemate.api.options import check_batch
    from edgemate.calibration import read_operating_points
    from edgemate.errors import UsageError
    from edgemate.machine import machine_metadata
    from edgemate.runtime import AnytimeClassifier, evaluate_policy
    from edgemate.runtime.class_report import report_exits

    # What is wrong and needs no backend or PyTorch to be found comes first: importing them takes time.
    for name, number in (("batch", batch), ("images", images)):
        if number is not None and number < 1:
            raise UsageError(f"{name}: must be 1 or more, not {number}")
    other = None if against is None else read_operating_points(open_bundle(against, trusted_keys=trusted_keys))
    opened = open_bundle(bundle, trusted_keys=trusted_keys, trust_engines=trust_engines)
    points = read_operating_points(opened)
    chosen = [points.get(name) for name in policies] if policies else list(points.points)
    compared = [(other or points).get(point.name) for point in chosen]
    for point, there in zip(chosen, compared, strict=True):
        if there.exits != point.exits:
            raise UsageError(
                f"against: its {there.name} is for {there.exits} exits, and this network has {point.exits}"
            )
    everything = _read_images(opened, data)
    found = _spread(everything, images)
    backend = backend or "onnxruntime"
    with AnytimeClassifier.load(opened, backend, threads=threads, exact_pixels=exact_pixels) as classifier:
        if batch is None:
            batch = min(BATCH_SIZE, classifier.backend.largest_batch or BATCH_SIZE)
        else:
            check_batch(batch, classifier)
        batch = min(batch, len(found.images))  # no larger one is run
        batches = (1, batch) if batch > 1 else (1,)
        measured = []
        for point in chosen:
            progress.step(f"operating point {point.name}, image")
            measured.append(
                evaluate_policy(classifier, found.images, found.labels, point.name, batches=batches, progress=progress)
            )
        wholes = next((every for every in measured if every[0].statistics.fractions[-1] == 1), [])
        if not wholes and found.labels is not None:
            progress.step("the whole network, image")
            wholes = evaluate_policy(classifier, found.images, found.labels, None, batches=batches, progress=progress)
        whole = wholes[0] if wholes else None
        report = None
        if found.labels is not None:
            progress.step("every exit, image")
            report = report_exits(classifier, found.images, found.labels, batch=batch, progress=progress)
        full = FullAccuracy(_predicted_full(classifier, points), None if whole is None else whole.accuracy)
        table, times = _predicted_times(classifier, points)
        warnings = [] if found.unlabeled is None else [f"{found.unlabeled}, so accuracies are unknown"]
        if times is not None and not times.comparable:
            warnings.append(
                f"times predicted for {times.device} ({'; '.join(times.differences)}): those measured here are not "
                f"compared with them; edgemate bench {opened.path} --device TAG measures this machine"
            )
        if data is None and len(found.images) == len(everything.images):
            warnings += _doubts(classifier, full.measured)
        return Evaluation(
            bundle=opened.manifest.name,
            machine=machine_metadata(()),
            backend=classifier.backend.metadata(),
            images=len(found.images),
            labeled=found.labels is not None,
            full_accuracy=full,
            exits=report,
            predicted_times=times,
            warnings=tuple(warnings),
            points=tuple(
                _point(*three, full, table, wholes, comparable=times is not None and times.comparable)
                for three in zip(chosen, compared, measured, strict=True)
            ),
        )


def _refuse(path: BundleLike | RunLike, options: Mapping[str, Any], why: str) -> None:
    from edgemate.errors import UsageError

    for name, value in options.items():
        if value is not None:
            raise UsageError(f"{getattr(path, 'path', path)}: `{name}`: {why}")


def _read_images(bundle: Bundle, data: PathLike | LabeledImages | None) -> LabeledImages:
    from edgemate.api.own_images import read_test_split
    from edgemate.runtime.labeled import LabeledImages, read_labeled

    if data is None:
        return read_test_split(bundle)
    return data if isinstance(data, LabeledImages) else read_labeled(Path(os.fspath(data)), bundle.manifest.classes)


def _spread(found: LabeledImages, count: int | None) -> LabeledImages:
    import numpy as np

    from edgemate.runtime.labeled import LabeledImages

    if count is None or count >= len(found.images):
        return found
    rows = np.linspace(0, len(found.images) - 1, count).astype(np.intp)
    labels = None if found.labels is None else found.labels[rows]
    return LabeledImages([found.images[row] for row in rows], labels, found.unlabeled)


def _predicted_full(classifier: AnytimeClassifier, points: OperatingPoints) -> float | None:
    """The whole network's accuracy on the calibration split."""
    for point in points.points:
        if point.expected.fractions[-1] == 1:
            return point.expected.accuracy
    return classifier.exits[-1].accuracy.get("calibration")


def _predicted_times(
    classifier: AnytimeClassifier, points: OperatingPoints
) -> tuple[LatencyTable | None, PredictedTimes | None]:
    """The latency table of this machine, if the bundle has one; the device that times are predicted for."""
    from edgemate.errors import EdgemateError
    from edgemate.latency_tables import read_latency_table

    table = classifier.latency_table()
    if table is not None:
        return table, PredictedTimes(table.device)
    if points.device is None:
        return None, None
    try:
        stored = read_latency_table(classifier.bundle, points.device)
        differences = stored.differences(classifier.backend.metadata())
    except EdgemateError:
        differences = ["what that is cannot be read from the bundle"]
    return None, PredictedTimes(points.device, tuple(differences))


def _point(
    point: OperatingPoint,
    calibrated: OperatingPoint,
    measured: Sequence[Measured],
    full: FullAccuracy,
    table: LatencyTable | None,
    wholes: Sequence[Measured],
    *,
    comparable: bool,
) -> PointEvaluation:
    from edgemate.monitoring import accuracy_gap, drift_alerts

    expected, first = point.expected, measured[0]
    predicted = PredictedFigures(
        accuracy=expected.accuracy,
        drop=None if full.predicted is None else full.predicted - expected.accuracy,
        mean_ms=expected.mean_ms if table is None else table.mean_ms(expected.fractions),
        p99_ms=expected.p99_ms if table is None else table.p99_ms(expected.fractions),
        fractions=expected.fractions,
        images=point.images,
    )
    gap, gaps = None, []
    if first.accuracy is not None:
        gap = accuracy_gap(expected.accuracy, point.images, first.accuracy, first.statistics.images)
        gaps += ["accuracy"] * gap.notable
    for figure, there, here in (
        ("mean_ms", predicted.mean_ms, first.latency.mean),
        ("p99_ms", predicted.p99_ms, first.latency.p99),
    ):
        if comparable and there is not None and abs(here - there) > TIME_GAP * there:
            gaps.append(figure)
    return PointEvaluation(
        name=point.name,
        predicted=predicted,
        measured=tuple(_measured(one, full.measured, wholes) for one in measured),
        accuracy_gap=gap,
        gaps=tuple(gaps),
        drift_alerts=tuple(drift_alerts(first.statistics, calibrated)),
    )


def _measured(found: Measured, full: float | None, wholes: Sequence[Measured]) -> MeasuredFigures:
    whole = next((one for one in wholes if one.batch == found.batch), None)
    # The same decoding and preparing in both: it is the network that differs.
    before = found.decode_ms + found.prepare_ms
    return MeasuredFigures(
        batch=found.batch,
        accuracy=found.accuracy,
        drop=None if found.accuracy is None or full is None else full - found.accuracy,
        ms_per_image=found.ms_per_image,
        mean_ms=found.latency.mean,
        p50_ms=found.latency.p50,
        p99_ms=found.latency.p99,
        fractions=found.statistics.fractions,
        mean_probability=found.statistics.mean_probability,
        non_finite=found.statistics.non_finite,
        decode_ms=found.decode_ms,
        prepare_ms=found.prepare_ms,
        total_ms=found.total_ms,
        speedup=None if whole is None else whole.ms_per_image / found.ms_per_image,
        total_speedup=None if whole is None else (before + whole.ms_per_image) / found.total_ms,
    )


def _doubts(classifier: AnytimeClassifier, accuracy: float | None) -> list[str]:
    """A warning where these images may not be the recorded test split, or the graphs are not the network."""
    recorded = classifier.exits[-1].accuracy.get("test")
    if accuracy is None or recorded is None:
        return []
    precision = classifier.bundle.manifest.precision
    limit = FULL_GAP if precision is None or precision.name == "fp32" else FULL_GAP_ROUNDED
    if abs(accuracy - recorded) <= limit:
        return []
    return [
        f"the whole network is right about {100 * accuracy:.2f} % of these images; when it was trained it was right "
        f"about {100 * recorded:.2f} % of the test split: if these are others, some may be training images"
    ]
