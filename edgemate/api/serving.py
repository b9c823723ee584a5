"""`serve`: a bundle → answers over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgemate.api.opening import BundleLike, PathLike
    from edgemate.runtime.classifier import OnFailure

MAX_BATCH = 8
"""Images at a time, if no number is given."""


def serve(
    bundle: BundleLike,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    policy: str | None = None,
    policies: Sequence[str] | None = None,
    deadline_ms: float | None = None,
    max_batch: int | None = None,
    max_wait_ms: float = 2.0,
    max_queue: int = 128,
    timeout_s: float = 20.0,
    backend: str = "onnxruntime",
    threads: int | None = None,
    trusted_keys: PathLike | None = None,
    trust_engines: bool = False,
    on_failure: OnFailure = "degrade",
    ready: Callable[[str, int], None] | None = None,
    report: Callable[[str], None] | None = None,
) -> None:
    """Answer requests by the Open Inference Protocol until SIGTERM or SIGINT. For the main thread of a program.

    Args:
        bundle: a bundle's folder, whose hashes are checked, or a Bundle.
        host: the address to listen at; the default can be reached from this machine only.
        port: 0 takes any that is free.
        policy: name of the operating point of requests that choose none; the whole network if None.
        policies: the operating points that a request may choose; all of the bundle's if None.
        deadline_ms: milliseconds from the arrival of a request to its answer, and the most that a request may choose;
            None for no deadline.
        max_batch: images that go through the network at a time, and the most in one request; if None 8, or the most
            that the engines take if that is less.
        max_wait_ms: how long the first image of a batch waits for others.
        max_queue: images that are accepted and not yet answered; further requests get status 503.
        timeout_s: seconds for a request's head, for its body, and for its answer to be taken.
        backend: what runs the graphs.
        threads: CPU threads; all usable cores if None. TensorRT has no use for them.
        trusted_keys: a file or folder of public keys; the bundle must be signed by one of them.
        trust_engines: run the bundle's engines whoever built them.
        on_failure: `degrade` answers with an earlier exit where a segment fails; see `AnytimeClassifier.load`.
        ready: called with host and port once requests are answered.
        report: called with one line for each request that failed by the server's fault.

    Raises:
        BundleError: the bundle cannot be used.
        BackendError: the backend is not installed or cannot run this bundle.
        UsageError: an option cannot be used, a batch is beyond what the engines take, or nothing can listen at that
            address.

    Example:
        >>> edgemate.api.serve("bundles/digits", port=8000, policy="balanced")  # doctest: +SKIP
    """
    from edgemate.api.opening import open_bundle
    from edgemate.api.options import check_batch
    from edgemate.runtime import AnytimeClassifier
    from edgemate.serving import ServeOptions
    from edgemate.serving import serve as serve_classifier
    from edgemate.serving.model import offered_points

    # What is wrong and needs no backend to be found comes first: importing it takes time.
    options = ServeOptions(
        host=host,
        port=port,
        policy=policy,
        policies=None if policies is None else tuple(policies),
        deadline_ms=deadline_ms,
        max_batch=MAX_BATCH if max_batch is None else max_batch,
        max_wait_ms=max_wait_ms,
        max_queue=max_queue,
        timeout_s=timeout_s,
    )
    opened = open_bundle(bundle, trusted_keys=trusted_keys, trust_engines=trust_engines)
    offered_points(opened, options)
    with AnytimeClassifier.load(opened, backend, threads=threads, on_failure=on_failure) as classifier:
        if max_batch is not None:
            check_batch(max_batch, classifier, "max_batch")
        serve_classifier(classifier, options, ready=ready, report=report)
