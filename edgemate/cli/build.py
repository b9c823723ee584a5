"""`edgemate build`: a bundle's ONNX graphs → TensorRT engines for this device, proved and timed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgemate.cli.console import make_console, print_table
from edgemate.cli.layouts import split_layouts
from edgemate.cli.progress import Quiet, showing_progress
from edgemate.cli.trust import TrustedKeys, TrustEngines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from edgemate.runtime.backends.tensorrt.loading import EngineFile
    from edgemate.runtime.backends.tensorrt.options import HardwareCompatibilityLevel, ProfilingVerbosity


def build(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    layouts: Annotated[
        str, typer.Option(help="Which graphs, comma-separated: segments, prefixes, conditional.")
    ] = "segments",
    batch: Annotated[
        str | None,
        typer.Option(help="Batch sizes, min:opt:max; the bundle's if absent, else 1:1:8.", show_default=False),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="tensorrt or tensorrt_rtx; what is installed if absent.", show_default=False)
    ] = None,
    workspace: Annotated[int | None, typer.Option(help="Memory that a layer may use at most, MiB.")] = None,
    builder_optimization_level: Annotated[
        int | None, typer.Option(help="0 builds fastest, 5 searches longest; TensorRT's default is 3.")
    ] = None,
    timing_cache: Annotated[
        Path | None, typer.Option(help="tensorrt: folder of the timing caches; ~/.cache/edgemate/timing if absent.")
    ] = None,
    profiling_verbosity: Annotated[
        str,
        typer.Option(help="What an engine stores of its layers: layer_names_only, detailed (their precision) or none."),
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
    no_tf32: Annotated[bool, typer.Option("--no-tf32", help="Compute fp32 layers in full fp32 precision.")] = False,
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
    force: Annotated[bool, typer.Option("--force", help="Build engines again that exist.")] = False,
    trusted_keys: TrustedKeys = None,
    trust_engines: TrustEngines = False,
    quiet: Quiet = False,
) -> None:
    """Build a bundle's engines on the device that will run them, prove them on golden samples and time them.

    The next build continues with what a failed or stopped build has finished.
    """
    from typing import cast

    from edgemate import api
    from edgemate.cli.proofs import print_proofs
    from edgemate.runtime.backends.tensorrt.proving import WrongEnginesError

    console = make_console()
    try:
        with showing_progress(quiet) as progress:
            built = api.build(
                bundle,
                layouts=split_layouts(layouts),
                batch=batch,
                backend=backend,
                workspace=workspace,
                builder_optimization_level=builder_optimization_level,
                timing_cache=timing_cache,
                profiling_verbosity=cast("ProfilingVerbosity", profiling_verbosity),
                version_compatible=version_compatible,
                hardware_compatibility_level=cast("HardwareCompatibilityLevel", hardware_compatibility_level),
                strip_weights=strip_weights,
                use_dla_core=use_dla_core,
                allow_gpu_fallback=allow_gpu_fallback,
                tf32=not no_tf32,
                sparsity=sparsity,
                tolerance=tolerance,
                overwrite=force,
                trusted_keys=trusted_keys,
                trust_engines=trust_engines,
                notify=lambda line: console.out(line),
                progress=progress,
            )
    except WrongEnginesError as error:
        for layout, found in error.proofs.items():
            print_proofs(layout, found, console)
        raise
    _print_engines(built.engines, console)
    for layout, found in built.proofs.items():
        print_proofs(layout, found, console)
    console.out(f"engines: {built.folder}   next: edgemate classify {bundle} IMAGE --backend {built.library}")


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
    return ", ".join(f"{precision} {layers}" for precision, layers in counts.most_common()) or "unknown"
