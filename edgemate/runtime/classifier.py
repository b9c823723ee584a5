"""The classifier that stops: one network, several exits, and an answer from the earliest that will do."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from edgemate.bundle import Bundle, ExitMetadata, InputContract
from edgemate.bundle.manifest import Layout
from edgemate.calibration import read_operating_points
from edgemate.calibration.operating_points import POLICIES_FILE
from edgemate.errors import UsageError
from edgemate.latency_tables import LatencyTable
from edgemate.monitoring import Statistics
from edgemate.policies import Policy
from edgemate.runtime.backends.base import Array, Backend
from edgemate.runtime.batch_path import classify_batch
from edgemate.runtime.network import Network
from edgemate.runtime.opening import OnFailure, open_on_backend
from edgemate.runtime.plans import Plan, Plans
from edgemate.runtime.prediction import Prediction
from edgemate.runtime.preprocessing import ImageInput, Preprocessor
from edgemate.runtime.segment_times import SegmentTimes
from edgemate.runtime.single_path import RowAnswers
from edgemate.runtime.streaming import stream_image
from edgemate.runtime.whole_graphs import classify_whole

__all__ = ["AnytimeClassifier", "OnFailure"]

_FLOAT32 = np.dtype(np.float32)


class AnytimeClassifier:
    """An opened bundle on a backend. Use it as a context manager, or `close()` it.

    Images are paths, PIL images, uint8 arrays `(H, W)` or `(H, W, C)` in RGB, not BGR as OpenCV's are, or ready
    float32 arrays `(C, H, W)` and, for several at once, `(N, C, H, W)`. Files and PIL images are decoded by
    `edgemate.core.image_files.decode`.

    Several threads may share one: what they do is counted together, under a lock. Whether their segments run at the
    same time is the backend's affair.

    Where temperatures were fitted for the bundle, the probabilities in answers are of logits scaled by them, and so is
    what a policy decides on that has no temperature of its own.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        *,
        layout: Layout = "segments",
        on_failure: OnFailure = "raise",
        exact_pixels: bool = False,
    ) -> None:
        frame = bundle.manifest.input.frame
        if exact_pixels and frame is not None:
            size = f"{frame[1]}x{frame[0]}"
            raise UsageError(f"exact_pixels: this bundle takes frames of {size}, which its graphs resize; leave it out")
        self.bundle = bundle
        self.backend = backend
        self.layout = layout
        self.on_failure = on_failure
        points = read_operating_points(bundle) if bundle.has(POLICIES_FILE) else None
        fitted = None if points is None else points.temperatures
        temperatures = None if fitted is None else tuple(found.temperature for found in fitted)
        self._network = Network(bundle, backend, layout, on_failure == "degrade", temperatures)
        self._times = SegmentTimes(self._network, None if points is None else points.device)
        self._plans = Plans(self._network, points, self._times)
        self._row_answers = RowAnswers(self._network)
        self._preprocessor = Preprocessor(bundle.manifest.input, exact=exact_pixels)
        self._shape = bundle.manifest.input.shape(1)
        self._dtype = np.dtype(bundle.manifest.input.dtype)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | Bundle,
        backend: str = "onnxruntime",
        *,
        threads: int | None = None,
        verify: bool = True,
        layout: Layout = "segments",
        trusted_keys: str | os.PathLike[str] | None = None,
        trust_engines: bool = False,
        on_failure: OnFailure = "raise",
        exact_pixels: bool = False,
        **options: Any,
    ) -> AnytimeClassifier:
        """Open the bundle in folder `path`.

        Args:
            path: the bundle; an opened Bundle is taken as it was opened.
            backend: a registered backend's name.
            threads: CPU threads, 1 or more; by default all usable cores.
            verify: check every file's SHA-256 first.
            layout: `segments` can stop at any exit; `prefixes` runs one graph per image and answers at a fixed exit
                only, which is the cheapest way to do that; `conditional` is one graph that compares the probabilities
                with thresholds itself, one image at a time.
            trusted_keys: a file or folder of public keys; the bundle must be signed by one of them (docs/trust.md).
            trust_engines: run the bundle's engines whoever built them. An engine is code.
            on_failure: where a segment fails, or the last exit's logits are not finite: `raise` the error, or answer
                with logits that are not finite; `degrade` answers with the deepest exit before it whose logits are
                finite, marked `degraded`, and raises only where there is none. For layout `segments` only.
            exact_pixels: give very large images the pixels of training, too, which takes longer (docs/images.md). Not
                for bundles of frames.
            options: what else this backend can be told, such as TensorRT's `speculate`.

        Raises:
            BundleError: the bundle is missing, damaged, unsafe, of a newer format, or has no graphs of this layout.
            BackendError: the backend is not installed or cannot run this bundle.
            UsageError: an unknown backend, layout or option, one that is not for this layout, or fewer than 1 thread.
        """

        def make(bundle: Bundle, made: Backend) -> AnytimeClassifier:
            return cls(bundle, made, layout=layout, on_failure=on_failure, exact_pixels=exact_pixels)

        return open_on_backend(
            path,
            backend,
            make,
            AnytimeClassifier.close,
            threads=threads,
            verify=verify,
            layout=layout,
            trusted_keys=trusted_keys,
            trust_engines=trust_engines,
            on_failure=on_failure,
            options=options,
        )

    @property
    def exits(self) -> tuple[ExitMetadata, ...]:
        """The exits, first to last, with their MACs and accuracy."""
        return self.bundle.manifest.exits

    @property
    def classes(self) -> tuple[str, ...]:
        """The label of each class index."""
        return self.bundle.manifest.classes

    @property
    def input(self) -> InputContract:
        """What the network takes, and how an image becomes that."""
        return self.bundle.manifest.input

    @property
    def preprocessor(self) -> Preprocessor:
        """What makes the tensor of an image, and says how long that took."""
        return self._preprocessor

    @property
    def temperatures(self) -> tuple[float, ...] | None:
        """What the logits of each exit are divided by before they become probabilities, `(K,)`; None where not."""
        return self._network.temperatures

    @property
    def non_finite(self) -> int:
        """Times an image's logits at some exit held a NaN or an infinity; no policy stops there before the last.

        Layout `conditional` shows the logits of the exit that answers alone, so those of exits before it are not seen.
        """
        return self._network.counts.non_finite

    def deadline_ms(self, policy: Policy | str | None) -> float | None:
        """The deadline of a policy, or of the operating point of that name, in milliseconds; None without one."""
        return self._plans.of(policy).deadline_ms

    def statistics(self) -> Statistics:
        """What became of all images since the start or the last `reset_statistics()`."""
        return self._network.counts.statistics()

    def reset_statistics(self) -> None:
        """Count anew."""
        self._network.counts.reset()

    def stream(self, image: ImageInput, policy: Policy | str | None = None) -> Iterator[Prediction]:
        """Answers about one image, one per exit, each better than the last. An exit whose logits are not finite gives
        none where an earlier one gave one.

        A segment is computed when its answer is asked for: stop iterating, and the rest is never done. The last answer
        taken is the one that counts in the statistics.

        Args:
            image: one image.
            policy: where the stream ends; None at the last exit. Under a `Deadline` the time that the caller takes
                between two answers counts too.

        Raises:
            ClosedError: the classifier was closed.
            ImageError: at once, not at the first answer.
            UsageError: the layout is not `segments`, these are several images, or the policy does not fit.
        """
        self._network.need_open()
        self._network.need_segments("stream")
        chosen = None if policy is None else self._plans.timed(self._plans.of(policy).policy, 1)
        if chosen is not None:
            chosen.check(len(self.exits))
        ready = next(self._preprocessor.batches(image, 2), None)
        if ready is None or len(ready) != 1:
            raise UsageError("stream: takes one image at a time; use classify for several")
        return stream_image(self._network, self._row_answers, ready, chosen)

    def classify(
        self,
        images: ImageInput | Sequence[ImageInput],
        policy: Policy | str | None = None,
        *,
        batch_size: int = 32,
    ) -> list[Prediction]:
        """One answer per image, in order, from the exit where `policy` stops it.

        Images go through the network `batch_size` at a time; those that have stopped leave their batch before the
        next segment runs.

        Args:
            images: one image, a list of them, or ready float32 `(N, C, H, W)`.
            policy: an exit policy, the name of one of the bundle's operating points, or None for the whole network.
                Layout `prefixes` takes only `FixedExit` and None; `conditional` these and `Confidence` without a
                temperature, or one of 1 where the bundle has temperatures.
            batch_size: images per batch, 1 or more; fewer where the backend takes no more at a time.

        Raises:
            BackendError: a segment fails, and `on_failure` is `raise` or no earlier exit has answered.
            BundleError: a segment gives other tensors than the manifest says; likewise.
            ClosedError: the classifier was closed.
            ImageError: an image cannot be read; nothing is answered then.
            UsageError: the policy does not fit this bundle or layout.
        """
        network = self._network
        if network.closed:
            network.need_open()
        if batch_size < 1:
            raise UsageError(f"batch_size: must be 1 or more, not {batch_size}")
        plan = self._plans.of(policy)
        image = self._ready(images) if plan.single is not None else None
        if image is not None and plan.single is not None:  # what takes no more than it must: one image, all prepared
            answers = [plan.single.answer(image)]
        else:
            batches = self._preprocessor.batches(images, min(batch_size, self.backend.largest_batch or batch_size))
            answers = self._answers(batches, plan)
        for answer in answers:
            network.counts.add_one(
                answer.exit, answer.probability, answer.milliseconds, plan.deadline_ms, answer.degraded
            )
        return answers

    def latency_table(self) -> LatencyTable | None:
        """The bundle's latency table that was measured on such a machine, with this backend so set; None without one.

        Where there are several it is that of the device that the operating points were chosen for, else the newest.
        """
        return self._times.latency_table()

    def measure_segments(self, *, batch: int = 1, repeats: int = 100) -> tuple[float, ...]:
        """The 99th percentile of each segment's time on this machine, in milliseconds, for `batch` images: `(K,)`.

        With the decision after it and the making of the answer. `Deadline` uses it where it was given no times of its
        own and the bundle has no latency table of this device; it is then measured when a batch size is first met.
        """
        return self._times.measure(batch, repeats)

    def close(self) -> None:
        """Free what the backend holds. What is asked afterwards raises ClosedError."""
        self._network.closed = True
        self.backend.close()

    def __enter__(self) -> AnytimeClassifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ready(self, images: ImageInput | Sequence[ImageInput]) -> Array | None:
        """The image as it goes to the network, where it is one that needs no preparation; else None."""
        if type(images) is not np.ndarray or images.dtype is not self._dtype:
            return None
        if images.shape == self._shape:
            return images if images.flags.c_contiguous else None
        # One uint8 array without a batch is an image, which may have to be resized.
        return images[None] if self._dtype is _FLOAT32 and images.shape == self._shape[1:] else None

    def _answers(self, batches: Iterator[Array], plan: Plan) -> list[Prediction]:
        if self.layout != "segments":
            return list(classify_whole(self._network, batches, plan.policy))
        answers = []
        for images in batches:
            if len(images) == 1:
                answers.append(self._plans.single(plan).answer(images))
            else:
                answers += classify_batch(self._network, images, self._plans.timed(plan.policy, len(images)))
        return answers
