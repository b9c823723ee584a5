"""Engines that are proved before anything can load them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgemate.bundle import Bundle
from edgemate.bundle.manifest import Layout
from edgemate.errors import BackendError
from edgemate.progress import SILENT, Progress
from edgemate.registry import BACKENDS
from edgemate.runtime.backends.tensorrt.builder import build_bundle_engines
from edgemate.runtime.backends.tensorrt.compat import TensorRT
from edgemate.runtime.backends.tensorrt.loading import EngineFile
from edgemate.runtime.backends.tensorrt.options import BuildOptions
from edgemate.runtime.proof import ExitProof, default_tolerance, prove


@dataclass(frozen=True)
class ProvedEngines:
    """The engines of a bundle, and how well they agree with the network.

    Attributes:
        engines: the engine files, in the order of the manifest.
        proofs: layout → one entry per exit. Empty for engines that were built ahead of time for other GPUs, which
            cannot run on this machine.
    """

    engines: tuple[EngineFile, ...]
    proofs: dict[Layout, tuple[ExitProof, ...]]


class WrongEnginesError(BackendError):
    """Engines whose logits are not the network's. They were removed.

    Args:
        message: one line.
        proofs: of all layouts that were proved.
    """

    def __init__(self, message: str, proofs: Mapping[Layout, tuple[ExitProof, ...]]) -> None:
        super().__init__(message)
        self.proofs = dict(proofs)


def build_proved_engines(
    bundle: Bundle,
    trt: TensorRT,
    options: BuildOptions,
    *,
    layouts: Sequence[Layout] = ("segments",),
    rebuild: bool = False,
    tolerance: float | None = None,
    progress: Progress = SILENT,
) -> ProvedEngines:
    """Build the engines of a bundle, run them on its golden samples, and publish those that agree with the network.

    The engines of a layout run from the hidden folder they are built in, so no engine that was not proved can be
    loaded, even after a power failure. The exception is `options.compute_capabilities`: engines for other GPUs are
    published unproved, since they do not run here.

    Args:
        bundle: an opened bundle.
        trt: the library that builds them.
        options: how to build them.
        layouts: which graphs of the bundle.
        rebuild: also build engines that exist with the same options.
        tolerance: see `default_tolerance`, which is used if None.
        progress: receives the steps.

    Raises:
        WrongEnginesError: a layout does not agree with the network; its engines were removed.
        BackendError: an option is unavailable here, TensorRT cannot build a graph, or an engine cannot run.
        BundleError: the bundle has no graphs of a layout, or its golden samples cannot be read.
    """
    limit = default_tolerance(bundle) if tolerance is None else tolerance
    proofs: dict[Layout, tuple[ExitProof, ...]] = {}

    def agrees(layout: Layout, engines: Sequence[EngineFile]) -> bool:
        progress.step(f"{layout}: proving on golden samples, and timing, round")
        backend = BACKENDS.get(trt.flavour)(bundle, layout=layout, threads=None, engines=engines)
        try:
            found = prove(bundle, backend, layout, tolerance=limit, batch=options.batch.opt, progress=progress)
        finally:
            backend.close()
        proofs[layout] = found
        return all(proof.problem is None for proof in found)

    engines = build_bundle_engines(
        bundle,
        trt,
        options,
        layouts=layouts,
        rebuild=rebuild,
        check=None if options.compute_capabilities else agrees,
        progress=progress,
    )
    wrong = {layout: proof.problem for layout, found in proofs.items() for proof in found if proof.problem}
    if wrong:
        problem = next(iter(wrong.values()))
        raise WrongEnginesError(f"{problem}; the engines of these {' and '.join(wrong)} were removed", proofs)
    return ProvedEngines(tuple(engines), proofs)
