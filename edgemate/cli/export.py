"""`edgemate export`: run → bundle."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgemate.cli.console import make_console, print_table
from edgemate.cli.layouts import split_layouts
from edgemate.cli.progress import Quiet, showing_progress, total_time
from edgemate.cli.trust import AllowPlugins
from edgemate.wording import counted

if TYPE_CHECKING:
    from typing import Literal

    from rich.console import Console

    from edgemate.bundle.manifest import Precision
    from edgemate.exporting import Exported


def export(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    target: Annotated[str, typer.Option(help="Export target: onnx, triton, trt or trt-rtx.")] = "onnx",
    output: Annotated[Path | None, typer.Option(help="The bundle's folder; bundles/NAME if absent.")] = None,
    layouts: Annotated[
        str,
        typer.Option(help="How the network is cut into graphs, comma-separated: segments, prefixes, conditional."),
    ] = "segments,prefixes",
    precision: Annotated[
        str,
        typer.Option(
            help="Precision of the graphs: fp32, fp16, int8 or int8+fp16. For trt and trt-rtx int8 is int8+fp16, which "
            "TensorRT 8 cannot read: for that, --target onnx."
        ),
    ] = "fp32",
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Largest difference from the network, in units of the exit's largest logit (at least of 1); the "
            "limits of top-1 agreement and accuracy move with it. Usual: 0.001 for fp32, 0.02 for fp16, 0.25 for int8.",
            show_default=False,
        ),
    ] = None,
    input: Annotated[
        str, typer.Option(help="float32, or uint8: the graphs take pixels (N, H, W, C) and normalize them.")
    ] = "float32",
    frame: Annotated[
        str | None,
        typer.Option(help="With --input uint8: the graphs take frames of this size, such as 1920x1080, and resize."),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(help="trt, trt-rtx, triton: batch sizes of the engines, min:opt:max.", show_default="1:1:8"),
    ] = None,
    require_engines: Annotated[
        bool, typer.Option("--require-engines", help="trt: fail where no engine can be built.")
    ] = False,
    compute_capability: Annotated[
        str | None, typer.Option(help="trt-rtx: build ahead of time for these GPUs, such as 8.6,8.9.")
    ] = None,
    platform: Annotated[
        str | None,
        typer.Option(
            help="triton: what runs the segments on the server, onnxruntime (if absent) or tensorrt.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that exists.")] = False,
    allow_plugins: AllowPlugins = False,
    quiet: Quiet = False,
) -> None:
    """Make the bundle of a run, checked against the network on real images before anything is left on disk."""
    from typing import cast

    from edgemate import api

    started = time.monotonic()
    with showing_progress(quiet) as progress:
        exported = api.export(
            run,
            output,
            target=target,
            layouts=split_layouts(layouts),
            precision=cast("Precision", precision),
            tolerance=tolerance,
            input=input,  # type: ignore[arg-type]  # which is checked there
            frame=frame,
            batch=batch,
            require_engines=require_engines,
            compute_capability=_capabilities(compute_capability),
            platform=cast("Literal['onnxruntime', 'tensorrt'] | None", platform),
            overwrite=force,
            allow_plugins=allow_plugins,
            progress=progress,
        )
    _print(exported, output or Path("bundles") / run.resolve().name)
    make_console().out(total_time(started))


def _capabilities(given: str | None) -> tuple[str, ...]:
    return () if given is None else tuple(capability.strip() for capability in given.split(","))


def _print(exported: Exported, path: Path) -> None:
    from edgemate.cli.figures import engineering
    from edgemate.cli.proofs import print_proofs

    console = make_console()
    _print_table(exported, console)
    for layout, proofs in exported.proofs.items():
        print_proofs(layout, proofs, console)
    manifest = exported.bundle.manifest
    kept = () if manifest.precision is None else manifest.precision.kept_fp32
    lines = [f"kept in fp32: {', '.join(kept)}"] if kept else []
    if exported.misread:
        lines.append(f"warning: TensorRT 8 misreads {', '.join(exported.misread)}; build the engines with TensorRT 10")
    size = sum(metadata.bytes for metadata in manifest.files.values())
    lines.append(f"bundle: {path} ({counted(len(manifest.files), 'file')}, {engineering(size, 'B')})")
    if exported.no_engines is not None:
        lines += [
            f"engines: not built here: {exported.no_engines}",
            f"on the device: edgemate build {path}",
            f"               edgemate classify {path} IMAGE --backend tensorrt",
        ]
    elif exported.engines:
        size = sum(engine.stat().st_size for engine in exported.engines)
        number = counted(len(exported.engines), "file")
        lines.append(f"engines: {exported.engines[0].parent} ({number}, {engineering(size, 'B')})")
        if not exported.proofs:
            lines.append("not proved, since they are for other GPUs")
            lines.append(f"on such a GPU: edgemate evaluate {path} --backend tensorrt_rtx")
    elif exported.repository is None:
        lines[-1] += f"   next: edgemate classify {path} IMAGE"
    if exported.repository is not None:
        lines.append(f"model repository: {exported.repository}")
        lines.append(f"on the server: tritonserver --model-repository={exported.repository}")
    for line in lines:
        console.out(line)


def _print_table(exported: Exported, console: Console) -> None:
    from rich.table import Table

    from edgemate.cli.figures import engineering, percent

    manifest = exported.bundle.manifest
    images = max(layout[0].images for layout in exported.agreement.values())
    converted = manifest.precision is not None and manifest.precision.name != "fp32"
    precision = f" in {manifest.precision.name}" if manifest.precision is not None and converted else ""
    layouts = ", ".join(exported.agreement)
    table = Table(
        title=f"{manifest.name}: {layouts}{precision} against the network on {counted(images, 'image')}",
        title_justify="left",
    )
    table.add_column("exit")
    columns = ["MACs", "test accuracy", "largest difference", "its limit", "top-1 agreement"]
    for column in [*columns, "change, points"] if converted else columns:
        table.add_column(column, justify="right")
    for metadata in manifest.exits:
        found = [of_layout[metadata.exit - 1] for of_layout in exported.agreement.values()]
        row = [
            f"{metadata.exit} {metadata.name}",
            engineering(metadata.macs),
            percent(metadata.accuracy["test"]),
            f"{max(agreement.largest_difference for agreement in found):.1e}",
            f"{found[0].limit:.1e}",
            percent(min(agreement.agreement for agreement in found)),
        ]
        if converted:
            changes = [agreement.accuracy_change for agreement in found if agreement.accuracy_change is not None]
            row.append(f"{100 * min(changes):+.2f}" if changes else "–")
        table.add_row(*row)
    print_table(table, console)
