"""`classify`: images → labels, each from the earliest exit that will do."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgemate.progress import SILENT, Progress

if TYPE_CHECKING:
    from edgemate.api.opening import BundleLike, PathLike
    from edgemate.monitoring import Statistics
    from edgemate.policies import Policy
    from edgemate.runtime import AnytimeClassifier, Prediction
    from edgemate.runtime.classifier import OnFailure


@dataclass(frozen=True)
class Answer:
    """One image's answer.

    Attributes:
        image: the file.
        prediction: label, probability, exit and milliseconds; None where the image could not be read.
        error: why not; None where it could.
        late: whether the answer came after the deadline; None without one.
        decode_ms: reading and decoding the file, in milliseconds.
        prepare_ms: from the decoded image to the network's input: resize, crop and normalization.
    """

    image: Path
    prediction: Prediction | None
    error: str | None = None
    late: bool | None = None
    decode_ms: float = 0.0
    prepare_ms: float = 0.0

    @property
    def total_ms(self) -> float:
        """From the file to the answer, in milliseconds; NaN where there is no answer."""
        network = math.nan if self.prediction is None else self.prediction.milliseconds
        return self.decode_ms + self.prepare_ms + network

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values: the image with its error, or with its answer."""
        if self.prediction is None:
            return {"image": str(self.image), "error": self.error}
        probability = self.prediction.probability
        found = {
            "image": str(self.image),
            "index": self.prediction.index,
            "label": self.prediction.label,
            "probability": None if math.isnan(probability) else probability,
            "exit": self.prediction.exit,
            "milliseconds": round(self.prediction.milliseconds, 3),
            "decode_ms": round(self.decode_ms, 3),
            "prepare_ms": round(self.prepare_ms, 3),
            "total_ms": round(self.total_ms, 3),
        }
        if self.prediction.degraded:
            found["degraded"] = True
        return found if self.late is None else {**found, "late": self.late}


@dataclass(frozen=True)
class Classified:
    """The answers about some images.

    Attributes:
        answers: one entry per image, in order.
        exits: number of exits K.
        statistics: the classifier's counts of exits, late answers and non-finite logits.
        deadline_ms: the deadline that was given, or that of the operating point; None without one.
    """

    answers: tuple[Answer, ...]
    exits: int
    statistics: Statistics
    deadline_ms: float | None = None

    @property
    def predictions(self) -> list[tuple[Path, Prediction]]:
        """The images that could be read, with their answers."""
        return [(answer.image, answer.prediction) for answer in self.answers if answer.prediction is not None]

    def to_json(self) -> dict[str, Any]:
        """Answers and statistics; the command prints the answers, one a line."""
        return {
            "answers": [answer.to_json() for answer in self.answers],
            "statistics": self.statistics.model_dump(mode="json"),
        }


def classify(
    bundle: BundleLike,
    images: PathLike | Sequence[PathLike],
    policy: str | Policy | None = None,
    *,
    threshold: float | None = None,
    exit: int | None = None,
    deadline_ms: float | None = None,
    backend: str = "onnxruntime",
    threads: int | None = None,
    trusted_keys: PathLike | None = None,
    trust_engines: bool = False,
    on_failure: OnFailure = "raise",
    exact_pixels: bool = False,
    notify: Callable[[Answer], None] | None = None,
    progress: Progress = SILENT,
) -> Classified:
    """Label image files one at a time, with the exit at which each was decided and the milliseconds that took.

    Decoding, preparing and the network are timed apart; a deadline is the network's.

    The whole network runs where neither a policy, a threshold nor an exit is given. An image that cannot be read is
    reported in its answer. For images in memory, and for batches, use `load` and `AnytimeClassifier.classify`.

    Args:
        bundle: a bundle's folder, whose hashes are checked, or a Bundle.
        images: image files, and folders to search for them; one or several.
        policy: name of an operating point of the bundle, or an exit policy.
        threshold: stop where the probability is above this, 0 to 1.
        exit: answer at this exit always, counted from 1.
        deadline_ms: stop where the next segment would end later than this; alone or with one of the above.
        backend: what runs the graphs.
        threads: CPU threads; all usable cores if None. TensorRT has no use for them.
        trusted_keys: a file or folder of public keys; the bundle must be signed by one of them.
        trust_engines: run the bundle's engines whoever built them.
        on_failure: `degrade` answers with an earlier exit where a segment fails; see `AnytimeClassifier.load`.
        exact_pixels: give very large images the pixels of training, too, which takes longer.
        notify: called with each answer at once.
        progress: receives how many images are done.

    Returns:
        The answers.

    Raises:
        BundleError: the bundle cannot be used.
        BackendError: the backend is not installed or cannot run this bundle.
        DataError: none of the files exists, or a folder has no image.
        UsageError: several of `policy`, `threshold` and `exit` are given, or one cannot be used.

    Example:
        >>> classified = edgemate.classify("bundles/digits", "images/digits", "balanced", threads=1)
        >>> [prediction.label for _, prediction in classified.predictions]  # doctest: +SKIP
        ['0', '1', '2']
    """
    from edgemate.api.choosing import StopChoice
    from edgemate.api.opening import open_bundle
    from edgemate.errors import DataError, ImageError
    from edgemate.runtime import AnytimeClassifier

    # What is wrong and needs no backend to be found comes first: importing it takes time.
    choice = StopChoice(policy, threshold, exit, deadline_ms)
    files = _find(images)
    if not any(file.exists() for file in files):
        raise DataError(f"{files[0] if files else 'images'}: no such file; name images, or folders of them")
    opened = open_bundle(bundle, trusted_keys=trusted_keys, trust_engines=trust_engines)
    chosen = choice.policy_of(opened)
    answers = []
    with AnytimeClassifier.load(
        opened,
        backend,
        threads=threads,
        layout=choice.layout(opened, on_failure),
        on_failure=on_failure,
        exact_pixels=exact_pixels,
    ) as classifier:
        _warm_up(classifier, exit)
        classifier.reset_statistics()
        limit = classifier.deadline_ms(chosen)  # an operating point may be a deadline too
        progress.step("classifying, image")
        for done, file in enumerate(files, start=1):
            try:
                ready, decode_ms, prepare_ms = classifier.preprocessor.timed(file)
                [prediction] = classifier.classify(ready[None], chosen)
                late = None if limit is None else prediction.milliseconds > limit
                answers.append(Answer(file, prediction, late=late, decode_ms=decode_ms, prepare_ms=prepare_ms))
            except ImageError as error:
                answers.append(Answer(file, None, error=str(error)))
            if notify is not None:
                notify(answers[-1])
            progress.advance(done, len(files))
        return Classified(tuple(answers), len(classifier.exits), classifier.statistics(), limit)


def _find(given: PathLike | Sequence[PathLike]) -> list[Path]:
    """Every file given, and the images in every folder given, sorted by path."""
    from edgemate.runtime.labeled import list_images

    paths = [given] if isinstance(given, (str, os.PathLike)) else given
    if any(os.fspath(path) == "" for path in paths):
        from edgemate.errors import UsageError

        raise UsageError("images: a path is empty; name images, or folders of them")
    return [file for path in map(Path, paths) for file in (list_images(path) if path.is_dir() else [path])]


def _warm_up(classifier: AnytimeClassifier, exit: int | None) -> None:
    # The first runs allocate memory; without this the first images would look slower than they are.
    import numpy as np

    from edgemate.policies import FixedExit

    zeros = np.zeros(classifier.input.shape(1), dtype=classifier.input.dtype)
    for _ in range(3):
        classifier.classify(zeros, FixedExit(exit or len(classifier.exits)))
