"""Opening a bundle on a backend, again where it was replaced meanwhile."""

from __future__ import annotations

import inspect
import itertools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from edgemate.bundle import Bundle
from edgemate.bundle.consistent import consistently
from edgemate.bundle.manifest import Layout
from edgemate.errors import BundleError, UsageError
from edgemate.machine import check_threads
from edgemate.registry import BACKENDS
from edgemate.runtime.backends.base import Backend

OnFailure = Literal["raise", "degrade"]
Opened = TypeVar("Opened")


def open_on_backend(
    path: str | os.PathLike[str] | Bundle,
    backend: str,
    make: Callable[[Bundle, Backend], Opened],
    discard: Callable[[Opened], None],
    *,
    threads: int | None,
    verify: bool,
    layout: Layout,
    trusted_keys: str | os.PathLike[str] | None,
    trust_engines: bool,
    on_failure: OnFailure,
    options: Mapping[str, Any],
) -> Opened:
    """What `make` makes of the bundle and the backend: arguments and errors are those of `AnytimeClassifier.load`.

    Args:
        path: the bundle's folder, or an opened Bundle.
        backend: a registered backend's name.
        make: is called again where the bundle was replaced while it was opened.
        discard: is called with what was made of a bundle that was replaced.
        threads: see `load`, as all that follow.
        verify: see `load`.
        layout: see `load`.
        trusted_keys: see `load`.
        trust_engines: see `load`.
        on_failure: see `load`.
        options: of this backend.
    """
    if layout not in get_args(Layout):
        raise UsageError(f"layout: must be {' or '.join(map(repr, get_args(Layout)))}, not {layout!r}")
    check_threads(threads)
    if on_failure not in get_args(OnFailure):
        raise UsageError(f"on_failure: must be {' or '.join(map(repr, get_args(OnFailure)))}, not {on_failure!r}")
    if on_failure == "degrade" and layout != "segments":  # which are one graph, without an exit before it
        raise UsageError(
            f"on_failure 'degrade': an earlier exit can answer in layout 'segments' only, and the layout is {layout!r}"
        )
    factory = BACKENDS.get(backend)
    for option in options.keys() - _parameters(factory):
        raise UsageError(f"{option}: backend {backend!r} has no such option")
    given = path if isinstance(path, Bundle) and trusted_keys is None and not trust_engines else None
    folder = path.path if isinstance(path, Bundle) else Path(path)
    attempts = itertools.count()

    def opened() -> Opened:
        if given is None:
            bundle = Bundle.open(folder, verify=verify, trusted_keys=trusted_keys, trust_engines=trust_engines)
        elif next(attempts) == 0:
            bundle = given
        elif given.trust.signer is not None:
            raise BundleError(f"{folder}: was replaced after its signature was checked; run the command again")
        else:
            bundle = Bundle.open(folder, verify=verify, trust_engines=given.trust.engines)
        return make(bundle, BACKENDS.make(backend, Backend, bundle, layout=layout, threads=threads, **options))

    return consistently(folder, opened, discard)


def _parameters(factory: Callable[..., Any]) -> set[str]:
    try:
        return set(inspect.signature(factory).parameters)
    except (TypeError, ValueError):  # of a builtin
        return set()
