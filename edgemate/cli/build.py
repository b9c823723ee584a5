"""`edgemate build`: a bundle's ONNX graphs → TensorRT engines for this device, proved and timed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgemate.cli.console import make_console, print_table
from edgemate.cli.progress import Quiet, showing_progress
from edgemate.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from edgemate.bundle import Bundle
    from edgemate.bundle.manifest import Layout
    from edgemate.progress import Progress
    from edgemate.runtime.backends.tensorrt.compat import Flavour
    from edgemate.runtime.backends.tensorrt.loading import EngineFile
    from edgemate.runtime.backends.tensorrt.options import (
        BatchRange,
        HardwareCompatibilityLevel,
        ProfilingVerbosity,
    )
    from edgemate.runtime.proof import ExitProof


def build(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    layouts: Annotated[
        str, typer.Option(help="Which graphs, comma-separated: segments, prefixes, conditional.")
    ] = "segments",
    batch: Annotated[
        str | None,
        typer.Option(help="Images at a time, min:opt:max; the bundle's if absent, else 1:1:8.", show_default=False),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="tensorrt or tensorrt_rtx; what is installed if absent.", show_default=False)
    ] = None,
    workspace: Annotated[int | None, typer.Option(help="Memory that a layer may work in, at most, MiB.")] = None,
    builder_optimization_level: Annotated[
        int | None, typer.Option(help="0 builds fastest, 5 tries the most; TensorRT's own is 3.")
    ] = None,
    timing_cache: Annotated[
        Path | None, typer.Option(help="Folder of the timing caches; ~/.cache/edgemate/timing if absent.")
    ] = None,
    profiling_verbosity: Annotated[
        str,
        typer.Option(help="What an engine tells of its layers: layer_names_only, detailed (their precision) or none."),
    ] = "detailed",
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="Later TensorRT versions can run the engines too.")
    ] = False,
    hardware_compatibility_level: Annotated[
        str, typer.Option(help="Other GPUs can run them too: none, ampere_plus or same_compute_capability.")
    ] = "none",
    strip_weights: Annotated[
        bool, typer.Option("--strip-weights", help="Leave the weights out; they come from the ONNX files on loading.")
    ] = False,
    use_dla_core: Annotated[int | None, typer.Option(help="Run on this DLA core, counted from 0.")] = None,
    allow_gpu_fallback: Annotated[
        bool, typer.Option("--allow-gpu-fallback", help="Layers that the DLA cannot run go to the GPU.")
    ] = False,
    no_tf32: Annotated[bool, typer.Option("--no-tf32", help="Compute fp32 layers in fp32 proper.")] = False,
    sparsity: Annotated[bool, typer.Option("--sparsity", help="Use 2:4 structured sparsity where weights have it.")] = (
        False
    ),
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Largest difference of a logit from the network's, in units of the exit's largest logit (at least of "
            "1); by default 0.01, or twice what the export allowed if that is more.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Build engines anew that are there already.")] = False,
    quiet: Quiet = False,
) -> None:
    """Build a bundle's engines on the device that will run them, then prove them on golden samples and time them.

    What a failed or stopped build has finished is taken up by the next one.
    """
    from typing import cast

    from edgemate.bundle import Bundle
    from edgemate.cli.layouts import parse_layouts
    from edgemate.errors import UsageError
    from edgemate.runtime.backends.tensorrt.builder import build_bundle_engines
    from edgemate.runtime.backends.tensorrt.compat import FLAVOURS, load_tensorrt
    from edgemate.runtime.backends.tensorrt.options import BatchRange, BuildOptions
    from edgemate.runtime.proof import default_tolerance

    if backend is not None and backend not in FLAVOURS:
        raise UsageError(f"--backend {backend!r}: engines are built by {' or '.join(FLAVOURS)}")
    if tolerance is not None and not tolerance > 0:
        raise UsageError(f"--tolerance {tolerance:g}: must be above 0, such as 0.01")
    wanted = parse_layouts(layouts)
    asked = None if batch is None else BatchRange.parse(batch)
    opened = Bundle.open(bundle)
    usual = BatchRange(*opened.manifest.engine_batch) if opened.manifest.engine_batch else BatchRange()
    options = BuildOptions(
        batch=asked or usual,
        workspace_mib=workspace,
        builder_optimization_level=builder_optimization_level,
        timing_cache=timing_cache,
        profiling_verbosity=cast("ProfilingVerbosity", profiling_verbosity),
        version_compatible=version_compatible,
        hardware_compatibility_level=cast("HardwareCompatibilityLevel", hardware_compatibility_level),
        strip_weights=strip_weights,
        dla_core=use_dla_core,
        allow_gpu_fallback=allow_gpu_fallback,
        tf32=not no_tf32,
        sparsity=sparsity,
    )
    trt = load_tensorrt(backend)
    device = trt.require_device()
    limit = default_tolerance(opened) if tolerance is None else tolerance
    console = make_console()
    console.out(f"{device.name}, compute capability {device.compute_capability}, {trt.name}")
    with showing_progress(quiet) as progress:
        engines = build_bundle_engines(opened, trt, options, layouts=wanted, rebuild=force, progress=progress)
        proofs = {}
        for layout in wanted:
            progress.step(f"{layout}: proving on golden samples, and timing, round")
            proofs[layout] = _prove(opened, trt.flavour, layout, options.batch, limit, progress)
    _print_engines(engines, console)
    for layout, found in proofs.items():
        _print_proofs(layout, found, console)
    _refuse_wrong(engines, proofs)
    console.out(f"engines: {engines[0].path.parent}   next: edgemate classify {bundle} IMAGE --backend {trt.flavour}")


def _prove(
    bundle: Bundle, flavour: Flavour, layout: Layout, batch: BatchRange, tolerance: float, progress: Progress
) -> tuple[ExitProof, ...]:
    from edgemate.registry import BACKENDS
    from edgemate.runtime.proof import prove

    backend = BACKENDS.get(flavour)(bundle, layout=layout, threads=None)
    try:
        return prove(bundle, backend, layout, tolerance=tolerance, batch=batch.opt, progress=progress)
    finally:
        backend.close()


def _refuse_wrong(engines: Sequence[EngineFile], proofs: Mapping[Layout, Sequence[ExitProof]]) -> None:
    from edgemate.errors import BackendError
    from edgemate.runtime.backends.tensorrt.builder import remove_engines

    wrong = {layout: proof.problem for layout, found in proofs.items() for proof in found if proof.problem}
    if wrong:
        remove_engines([engine for engine in engines if engine.metadata.layout in wrong])
        raise BackendError(f"{next(iter(wrong.values()))}; the engines of these {' and '.join(wrong)} were removed")


def _print_engines(engines: Sequence[EngineFile], console: Console) -> None:
    from rich.table import Table

    from edgemate.cli.figures import engineering

    table = Table()
    table.add_column("engine")
    for column in ("size", "built in"):
        table.add_column(column, justify="right")
    table.add_column("layers compute in", overflow="fold")
    for engine in engines:
        table.add_row(
            engine.path.name,
            engineering(engine.metadata.engine.bytes, "B"),
            f"{engine.metadata.build_seconds:.1f} s",
            _precisions(engine),
        )
    print_table(table, console)
    for engine in engines:
        if engine.metadata.gpu_layers:
            layers = ", ".join(engine.metadata.gpu_layers)
            console.out(f"{engine.path.name}: on the GPU, not on the DLA: {layers}")


def _precisions(engine: EngineFile) -> str:
    from collections import Counter

    counts: Counter[str] = Counter()
    for of_type in (engine.metadata.layer_precisions or {}).values():
        counts.update(of_type)
    return ", ".join(f"{precision} {layers}" for precision, layers in counts.most_common()) or "not said"


def _print_proofs(layout: str, proofs: Sequence[ExitProof], console: Console) -> None:
    from rich.table import Table

    from edgemate.cli.figures import milliseconds, percent

    table = Table(
        title=f"{layout} against the network on {counted(proofs[0].images, 'golden sample')}; ms of one image",
        title_justify="left",
    )
    for column in ("exit", "largest difference", "its limit", "top-1 agreement", "p50", "p90", "p99"):
        table.add_column(column, justify="right")
    for proof in proofs:
        table.add_row(
            str(proof.exit),
            f"{proof.largest_difference:.1e}",
            f"{proof.limit:.1e}",
            percent(proof.agreement),
            *(milliseconds(getattr(proof.latency, figure)) for figure in ("p50", "p90", "p99")),
        )
    print_table(table, console)
