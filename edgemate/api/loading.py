"""`load`: a bundle → a classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgemate.api.opening import BundleLike
    from edgemate.bundle.manifest import Layout
    from edgemate.runtime import AnytimeClassifier


def load(
    bundle: BundleLike,
    backend: str = "onnxruntime",
    *,
    threads: int | None = None,
    layout: Layout = "segments",
    **options: Any,
) -> AnytimeClassifier:
    """Open a bundle as a classifier that answers from the earliest exit that will do.

    Args:
        bundle: a bundle's folder, whose hashes are checked, or a Bundle.
        backend: what runs the graphs: `onnxruntime`, `tensorrt`, `tensorrt_rtx`.
        threads: CPU threads; all usable cores if None.
        layout: `segments`, `prefixes` or `conditional`; see `AnytimeClassifier.load`.
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
    from edgemate.bundle import Bundle
    from edgemate.runtime import AnytimeClassifier

    path = bundle.path if isinstance(bundle, Bundle) else bundle
    verify = not isinstance(bundle, Bundle)
    return AnytimeClassifier.load(path, backend, threads=threads, verify=verify, layout=layout, **options)
