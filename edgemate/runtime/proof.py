"""Proof that a backend computes on this machine what the network computed where it was trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.bundle import Bundle
from edgemate.bundle.manifest import Layout
from edgemate.core.agreement import compare_logits
from edgemate.errors import BackendError
from edgemate.progress import SILENT, Progress
from edgemate.runtime.backends.base import Backend
from edgemate.timing import Latency, measure_alternately
from edgemate.wording import counted

Array = npt.NDArray[Any]

# Largest difference, its limit, agreement, images, problem.
_Comparison = tuple[float, float, float, int, str | None]


@dataclass(frozen=True)
class ExitProof:
    """One exit, against the bundle's golden samples.

    Attributes:
        exit: k, 1-based.
        largest_difference: of any logit from the network's, absolute.
        limit: of that difference.
        agreement: share of images for which both name the same class.
        images: on so many.
        problem: what is wrong, in one line that names layout, exit, figure and limit; None if nothing is.
        latency: of the answer at this exit, one image, from numpy array to logits.
    """

    exit: int
    largest_difference: float
    limit: float
    agreement: float
    images: int
    problem: str | None
    latency: Latency


def default_tolerance(bundle: Bundle) -> float:
    """How far a logit may be from the network's, in units of the exit's largest logit (of 1 where that is smaller).

    Twice what the graphs themselves were allowed on a CPU, and not less than what TF32 and other orders of summation
    come to on a GPU.
    """
    precision = bundle.manifest.precision
    return max(0.01, 2 * precision.tolerance if precision else 0.0)


def prove(
    bundle: Bundle,
    backend: Backend,
    layout: Layout,
    *,
    tolerance: float,
    batch: int = 1,
    warmup: int = 20,
    repeats: int = 100,
    progress: Progress = SILENT,
) -> tuple[ExitProof, ...]:
    """Answer the golden samples at every exit, compare, and time every exit.

    Args:
        bundle: whose golden samples.
        backend: that bundle's `layout`, loaded.
        layout: which graphs to run.
        tolerance: see `default_tolerance`.
        batch: images at a time while comparing; the timing is of one.
        warmup: rounds that are not counted.
        repeats: rounds that are.
        progress: receives the number of these done.

    Raises:
        BackendError: the backend fails, or a conditional graph stops elsewhere than its thresholds say.
        BundleError: the golden samples cannot be read.
    """
    found = _comparisons(bundle, backend, layout, tolerance, batch)
    exits = range(1, len(bundle.manifest.exits) + 1)
    image = bundle.golden().images[:1]
    calls: dict[int, Callable[[], object]] = {
        exit: partial(_answer, backend, layout, exit, len(exits), image) for exit in exits
    }
    latency = measure_alternately(calls, warmup=warmup, repeats=repeats, progress=progress)
    return tuple(ExitProof(exit, *found[exit], latency[exit]) for exit in exits)


def first_problem(bundle: Bundle, backend: Backend, layout: Layout, *, tolerance: float, batch: int = 1) -> str | None:
    """What the first exit that does not agree with the network does wrong; None if all agree. Nothing is timed.

    Arguments and errors are those of `prove`.
    """
    problems = (found[-1] for found in _comparisons(bundle, backend, layout, tolerance, batch).values())
    return next((problem for problem in problems if problem is not None), None)


def _comparisons(
    bundle: Bundle, backend: Backend, layout: Layout, tolerance: float, batch: int
) -> dict[int, _Comparison]:
    golden = bundle.golden()
    exits = len(bundle.manifest.exits)
    found = {}
    for exit in range(1, exits + 1):
        parts = [
            _answer(backend, layout, exit, exits, golden.images[start : start + batch])
            for start in range(0, len(golden.images), batch)
        ]
        found[exit] = _compare(layout, exit, np.concatenate(parts), golden.logits[:, exit - 1], tolerance)
    return found


def _answer(backend: Backend, layout: Layout, exit: int, exits: int, images: Array) -> Array:
    """Logits of one exit, float32 `(N, C)`."""
    if layout == "prefixes":
        return np.asarray(backend.run_prefix(exit, images))
    if layout == "segments":
        flow = backend.begin(images)
        for _ in range(exit - 1):
            flow.advance()
        return np.asarray(flow.advance())
    thresholds = (np.arange(1, exits) < exit).astype(np.float32)  # 0 stops every image, 1 none
    answers = [backend.run_conditional(images[row : row + 1], thresholds) for row in range(len(images))]
    for _, taken in answers:
        if taken != exit:
            raise BackendError(f"conditional, exit {exit}: thresholds {thresholds.tolist()} led to exit {taken}")
    return np.concatenate([logits for logits, _ in answers])


def _compare(layout: Layout, exit: int, logits: Array, reference: Array, tolerance: float) -> _Comparison:
    found = compare_logits(logits, reference, tolerance)
    samples = counted(found.images, "golden sample")
    problem = None
    if found.not_finite:
        problem = f"{layout}, exit {exit}: logits are not finite for {found.not_finite} of {samples}"
    elif found.largest_difference > found.limit:
        problem = (
            f"{layout}, exit {exit}: the largest difference from the network is {found.largest_difference:.3g} on "
            f"{samples}; "
            f"the limit is {found.limit:.3g} (tolerance {tolerance:g})"
        )
    return found.largest_difference, found.limit, found.agreement, found.images, problem
