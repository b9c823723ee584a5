"""`load`: a bundle → a classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgemate.api.opening import BundleLike, PathLike
    from edgemate.bundle.manifest import Layout
    from edgemate.runtime import AnytimeClassifier


def load(
    bundle: BundleLike,
    backend: str = "onnxruntime",
    *,
    threads: int | None = None,
    layout: Layout = "segments",
    trusted_keys: PathLike | None = None,
    trust_engines: bool = False,
    **options: Any,
) -> AnytimeClassifier:
    """Open a bundle as a classifier that answers from the earliest exit that will do.

    Args:
        bundle: a bundle's folder, whose hashes are checked, or a Bundle.
        backend: what runs the graphs: `onnxruntime`, `tensorrt`, `tensorrt_rtx`.
        threads: CPU threads; all usable cores if None. TensorRT has no use for them.
        layout: `segments`, `prefixes` or `conditional`; see `AnytimeClassifier.load`.
        trusted_keys: a file or folder of public keys; the bundle must be signed by one of them.
        trust_engines: run the bundle's engines whoever built them.
        options: further options of the backend.

    Returns:
        The classifier, a context manager.

    Raises:
        BundleError: the bundle cannot be used or has no graphs of this layout.
        BackendError: the backend is not installed or cannot run this bundle.
        UsageError: an unknown backend, layout or option, or fewer than 1 thread.

    Example:
        >>> with edgemate.load("bundles/digits", threads=1) as classifier:
        ...     predictions = classifier.classify(["image.png"], "balanced")
    """
    from edgemate.api.opening import open_bundle
    from edgemate.runtime import AnytimeClassifier

    opened = open_bundle(bundle, trusted_keys=trusted_keys, trust_engines=trust_engines)
    return AnytimeClassifier.load(opened, backend, threads=threads, layout=layout, **options)
