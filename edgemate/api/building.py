"""`build`: a bundle's ONNX graphs → TensorRT engines for this device, proved and timed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgemate.progress import SILENT, Progress

if TYPE_CHECKING:
    from edgemate.api.opening import BundleLike, PathLike
    from edgemate.bundle.manifest import Layout
    from edgemate.runtime.backends.tensorrt.loading import EngineFile
    from edgemate.runtime.backends.tensorrt.options import HardwareCompatibilityLevel, ProfilingVerbosity
    from edgemate.runtime.proof import ExitProof


@dataclass(frozen=True)
class Built:
    """The engines of a bundle for this device.

    Attributes:
        library: `tensorrt` or `tensorrt_rtx`, the backend that runs them.
        device: name of the GPU.
        folder: where the engines are.
        engines: the engine files with their metadata, in the order of the manifest.
        proofs: layout → one entry per exit: agreement with the network on the golden samples, and latency in ms.
    """

    library: str
    device: str
    folder: Path
    engines: tuple[EngineFile, ...]
    proofs: dict[Layout, tuple[ExitProof, ...]]

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "library": self.library,
            "device": self.device,
            "folder": str(self.folder),
            "engines": {engine.path.name: engine.metadata.model_dump(mode="json") for engine in self.engines},
            "proofs": {layout: [asdict(exit) for exit in exits] for layout, exits in self.proofs.items()},
        }


def build(
    bundle: BundleLike,
    *,
    layouts: Sequence[Layout] = ("segments",),
    batch: str | Sequence[int] | None = None,
    backend: str | None = None,
    workspace: int | None = None,
    builder_optimization_level: int | None = None,
    timing_cache: PathLike | None = None,
    profiling_verbosity: ProfilingVerbosity = "detailed",
    version_compatible: bool = False,
    hardware_compatibility_level: HardwareCompatibilityLevel = "none",
    strip_weights: bool = False,
    use_dla_core: int | None = None,
    allow_gpu_fallback: bool = False,
    tf32: bool = True,
    sparsity: bool = False,
    tolerance: float | None = None,
    overwrite: bool = False,
    trusted_keys: PathLike | None = None,
    trust_engines: bool = False,
    notify: Callable[[str], None] | None = None,
    progress: Progress = SILENT,
) -> Built:
    """Build a bundle's engines on the device that will run them, prove them on golden samples and time them.

    An engine that does not agree with the network is removed. The next build continues with what a failed or stopped
    build has finished.

    Args:
        bundle: a bundle's folder or a Bundle.
        layouts: which graphs.
        batch: images at a time, `min:opt:max`; the bundle's if None, else `1:1:8`. The conditional graph takes one.
        backend: `tensorrt` or `tensorrt_rtx`; what is installed if None.
        workspace: memory that a layer may use at most, MiB.
        builder_optimization_level: 0 builds fastest, 5 searches longest; TensorRT's default is 3.
        timing_cache: folder of the timing caches, for `tensorrt`; `~/.cache/edgemate/timing` if None.
        profiling_verbosity: what an engine stores of its layers.
        version_compatible: later TensorRT versions can run the engines too.
        hardware_compatibility_level: other GPUs can run the engines too.
        strip_weights: leave the weights out; they come from the ONNX files on loading.
        use_dla_core: run on this DLA core, counted from 0; for bundles in fp16.
        allow_gpu_fallback: layers that the DLA cannot run go to the GPU.
        tf32: fp32 layers may compute in TF32.
        sparsity: use 2:4 structured sparsity where weights have it.
        tolerance: largest difference of a logit from the network's, in units of the exit's largest logit (at least of
            1); 0.01, or twice what the export allowed if that is more, if None.
        overwrite: build engines again that exist.
        trusted_keys: a file or folder of public keys; the bundle must be signed by one of them.
        trust_engines: keep engines that are there already whoever built them, instead of building them again.
        notify: called with one line that names the device before the build.
        progress: receives the steps and how far each is.

    Returns:
        The engines and their proofs.

    Raises:
        BundleError: the bundle cannot be used, has no graphs of a layout, or another process writes into it.
        BackendError: TensorRT is not installed, cannot build a graph or do what an option asks; `WrongEnginesError`
            where engines do not agree with the network.
        UsageError: an option cannot be used.

    Example:
        >>> built = edgemate.build("bundles/digits", batch="1:1:8")  # doctest: +SKIP
        >>> [proof.latency.p50 for proof in built.proofs["segments"]]  # doctest: +SKIP
    """
    from edgemate.api.opening import open_bundle
    from edgemate.api.options import batch_range, check_conditional_batch, check_layouts, check_tolerance
    from edgemate.bundle import writing_bundle
    from edgemate.errors import BackendError, UsageError
    from edgemate.runtime.backends.tensorrt import compat
    from edgemate.runtime.backends.tensorrt.builder import precision_of
    from edgemate.runtime.backends.tensorrt.dla import check_dla_precision
    from edgemate.runtime.backends.tensorrt.options import BatchRange, BuildOptions
    from edgemate.runtime.backends.tensorrt.proving import build_proved_engines

    if backend is not None and backend not in compat.FLAVOURS:
        raise UsageError(f"backend {backend!r}: engines are built by {' or '.join(compat.FLAVOURS)}")
    check_tolerance(tolerance, "0.01")
    wanted, asked = check_layouts(layouts), batch_range(batch)
    check_conditional_batch(asked, wanted)
    opened = open_bundle(bundle, trusted_keys=trusted_keys, trust_engines=trust_engines)
    usual = BatchRange(*opened.manifest.engine_batch) if opened.manifest.engine_batch else BatchRange()
    options = BuildOptions(
        batch=asked or usual,
        workspace_mib=workspace,
        builder_optimization_level=builder_optimization_level,
        timing_cache=None if timing_cache is None else Path(os.fspath(timing_cache)),
        profiling_verbosity=profiling_verbosity,
        version_compatible=version_compatible,
        hardware_compatibility_level=hardware_compatibility_level,
        strip_weights=strip_weights,
        dla_core=use_dla_core,
        allow_gpu_fallback=allow_gpu_fallback,
        tf32=tf32,
        sparsity=sparsity,
    )
    if use_dla_core is not None:
        check_dla_precision(precision_of(opened))
    trt = compat.load_tensorrt(backend)
    if timing_cache is not None and not trt.has_timing_cache:
        raise BackendError(
            f"timing_cache: {trt.name} has none, as it chooses kernels when an engine first runs; leave it out"
        )
    device = trt.require_device()
    if notify is not None:
        notify(f"{device.name}, compute capability {device.compute_capability}, {trt.name}")
    with writing_bundle(opened.path):
        found = build_proved_engines(
            open_bundle(bundle, trusted_keys=trusted_keys, trust_engines=trust_engines),
            trt,
            options,
            layouts=wanted,
            rebuild=overwrite,
            tolerance=tolerance,
            progress=progress,
        )
    return Built(trt.flavour, device.name, found.engines[0].path.parent, found.engines, found.proofs)
