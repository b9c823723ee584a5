"""A bundle that is loaded, warmed up and, where it replaces another, proved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgemate.bundle import Bundle
from edgemate.bundle.manifest import Layout
from edgemate.calibration import OperatingPoint, read_operating_points
from edgemate.errors import BackendError
from edgemate.live.still import Still
from edgemate.policies import Policy
from edgemate.runtime import AnytimeClassifier, Prediction
from edgemate.runtime.classifier import OnFailure
from edgemate.runtime.preprocessing import ImageInput
from edgemate.runtime.proof import default_tolerance, first_problem

_WARM_UP = 3


@dataclass(frozen=True)
class LoadOptions:
    """How a bundle is loaded, the first one and each that replaces it.

    Attributes:
        choose: gives the exit policy for an opened bundle; raises UsageError where it has no such.
        operating_point: the name of the operating point used; None without one. Its drift is watched.
        layout: `prefixes` for a fixed exit, else `segments`.
        still: see `Still`; None is off.
        backend: what runs the graphs.
        threads: CPU threads; all usable cores if None.
        trusted_keys: a file or folder of public keys; the bundle must be signed by one of them.
        trust_engines: run the bundle's engines whoever built them.
        on_failure: see `AnytimeClassifier.load`.
    """

    choose: Callable[[Bundle], Policy | None]
    operating_point: str | None = None
    layout: Layout = "segments"
    still: float | None = None
    backend: str = "onnxruntime"
    threads: int | None = None
    trusted_keys: Any = None
    trust_engines: bool = False
    on_failure: OnFailure = "raise"


class Ready:
    """A classifier with the policy that its bundle is run by."""

    def __init__(self, classifier: AnytimeClassifier, options: LoadOptions) -> None:
        self.policy = options.choose(classifier.bundle)
        self.point: OperatingPoint | None = None
        if options.operating_point is not None:
            self.point = read_operating_points(classifier.bundle).get(options.operating_point)
        self._still = None if options.still is None else Still(classifier, options.still)
        self.classifier = classifier if self._still is None else self._still.classifier
        self.deadline_ms = self.classifier.deadline_ms(self.policy)

    def classify(self, image: ImageInput) -> tuple[Prediction, bool]:
        """The answer, and whether it is that of an earlier frame."""
        if self._still is not None:
            return self._still.classify(image, self.policy)
        [prediction] = self.classifier.classify(image, self.policy)
        return prediction, False

    def forget(self) -> None:
        """Let no frame from now on keep an answer of before."""
        if self._still is not None:
            self._still.forget()

    def close(self) -> None:
        """Free what it holds."""
        self.classifier.close()


def load(bundle: Bundle | str, options: LoadOptions, *, proved: bool) -> Ready:
    """Load a bundle and run it a few times, so that the first frame does not wait for what the first run prepares.

    Args:
        bundle: its folder, or an opened Bundle.
        options: how.
        proved: compare its answers to its golden samples with the network's first.

    Raises:
        BackendError: the backend is not installed or cannot run it, or its answers are wrong.
        BundleError: it cannot be used.
        UsageError: it has no such operating point, or an option cannot be used.
    """
    classifier = AnytimeClassifier.load(
        bundle,
        options.backend,
        threads=options.threads,
        layout=options.layout,
        trusted_keys=options.trusted_keys,
        trust_engines=options.trust_engines,
        on_failure=options.on_failure,
    )
    try:
        if proved:
            _prove(classifier)
        ready = Ready(classifier, options)
        contract = classifier.input
        black = np.zeros((*(contract.frame or (contract.height, contract.width)), 3), dtype=np.uint8)
        for _ in range(_WARM_UP):
            ready.classify(black)
        ready.forget()
        ready.classifier.reset_statistics()
        return ready
    except BaseException:
        classifier.close()
        raise


def _prove(classifier: AnytimeClassifier) -> None:
    bundle, backend = classifier.bundle, classifier.backend
    images = len(bundle.golden().images)
    batch = max(1, min(backend.largest_batch or images, images))
    problem = first_problem(bundle, backend, classifier.layout, tolerance=default_tolerance(bundle), batch=batch)
    if problem is not None:
        raise BackendError(f"{bundle.path}: {problem}")
