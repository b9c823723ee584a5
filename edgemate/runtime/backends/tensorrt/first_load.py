"""Engines that were not proved on this device are proved when it first loads them, and this is remembered.

`edgemate build` proves what it builds before anything can load it. Engines that were built elsewhere to be run here,
ahead of time by TensorRT-RTX, or compatible with other GPUs or later versions, could not be proved on this device.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence

from edgemate.bundle import Bundle
from edgemate.bundle.manifest import Layout
from edgemate.errors import BackendError
from edgemate.runtime.backends.base import Backend
from edgemate.runtime.backends.tensorrt.compat import TensorRT
from edgemate.runtime.backends.tensorrt.loading import EngineFile, engine_tag, other_device
from edgemate.runtime.backends.tensorrt.options import BatchRange
from edgemate.runtime.proof import default_tolerance, first_problem
from edgemate.trust import Ledger
from edgemate.trust.ledger import data_folder

_GOLDEN = "golden.npz"


def prove_at_first_load(
    bundle: Bundle, backend: Backend, layout: Layout, engines: Sequence[EngineFile], trt: TensorRT
) -> None:
    """Run engines of elsewhere on the bundle's golden samples, unless they have passed on this device before.

    That they passed is remembered outside of the bundle, in a folder of empty files beside the record of what this
    machine built (`edgemate.trust.Ledger`): by the hashes of engines and golden samples, the device and the library.
    Where nothing can be remembered, they are proved at every load.

    Args:
        bundle: whose engines they are.
        backend: has opened them.
        layout: theirs.
        engines: of all graphs of the layout.
        trt: what runs them.

    Raises:
        BackendError: an exit does not agree with the network, or an engine cannot be run.
        BundleError: the golden samples cannot be read.
    """
    if all(_was_proved_by_its_build(engine, trt) for engine in engines):
        return
    key = _key(bundle, engines, trt)
    if _passed().knows(key):
        return
    batch = BatchRange.parse(engines[0].metadata.options["batch"]).opt
    problem = first_problem(bundle, backend, layout, tolerance=default_tolerance(bundle), batch=batch)
    if problem is not None:
        device = trt.require_device()
        raise BackendError(
            f"{engines[0].path.parent}: {problem}; these engines were built elsewhere and are wrong on {device.name}; "
            f"build them here: edgemate build {bundle.path}"
        )
    with contextlib.suppress(BackendError):
        _passed().record(key)


def _was_proved_by_its_build(engine: EngineFile, trt: TensorRT) -> bool:
    metadata = engine.metadata
    return metadata.version == trt.version_text and other_device(metadata, trt.require_device()) is None


def _key(bundle: Bundle, engines: Sequence[EngineFile], trt: TensorRT) -> str:
    what = {
        "engines": [engine.metadata.engine.sha256 for engine in engines],
        "golden": bundle.manifest.files[_GOLDEN].sha256,
        "tolerance": default_tolerance(bundle),
        "where": engine_tag(trt, trt.require_device()),
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _passed() -> Ledger:
    return Ledger(data_folder() / "proved")
