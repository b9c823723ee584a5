"""`edgemate export`: run → bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgemate.cli.console import make_console, print_table
from edgemate.cli.progress import Quiet, showing_progress
from edgemate.wording import counted

if TYPE_CHECKING:
    from rich.console import Console

    from edgemate.bundle.manifest import Precision
    from edgemate.exporting import Exported


def export(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    target: Annotated[str, typer.Option(help="What the bundle is for: onnx, trt or trt-rtx.")] = "onnx",
    output: Annotated[Path | None, typer.Option(help="The bundle's folder; bundles/NAME if absent.")] = None,
    layouts: Annotated[
        str,
        typer.Option(help="How the network is cut into graphs, comma-separated: segments, prefixes, conditional."),
    ] = "segments,prefixes",
    precision: Annotated[str, typer.Option(help="What the graphs compute in: fp32, fp16, int8 or int8+fp16.")] = "fp32",
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Largest difference from the network, in units of the exit's largest logit (at least of 1); the "
            "limits of top-1 agreement and accuracy move with it. Usual: 0.001 for fp32, 0.02 for fp16, 0.25 for int8.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[
        str | None, typer.Option(help="trt, trt-rtx: images at a time, min:opt:max.", show_default="1:1:8")
    ] = None,
    require_engines: Annotated[
        bool, typer.Option("--require-engines", help="trt: fail where no engine can be built.")
    ] = False,
    compute_capability: Annotated[
        str | None, typer.Option(help="trt-rtx: build ahead of time for these GPUs, such as 8.6,8.9.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there already.")] = False,
    quiet: Quiet = False,
) -> None:
    """Make the bundle of a run, checked against the network on real images before anything is left on disk."""
    from edgemate.bundle import BundleWriter
    from edgemate.cli.layouts import parse_layouts
    from edgemate.data import check_data
    from edgemate.errors import UsageError
    from edgemate.registry import EXPORT_TARGETS
    from edgemate.runs import Run

    # What can be told without torch comes first: to import it takes seconds.
    if target not in EXPORT_TARGETS and ":" not in target:
        raise UsageError(EXPORT_TARGETS.unknown(target))
    if tolerance is not None and not tolerance > 0:
        raise UsageError(f"--tolerance {tolerance:g}: must be above 0, such as 1e-3")
    if batch is not None and target not in ("trt", "trt-rtx"):
        raise UsageError(f"--batch: is about engines; --target {target} makes none")
    if require_engines and target != "trt":
        raise UsageError(f"--require-engines: is for --target trt, not {target}")
    if compute_capability is not None and target != "trt-rtx":
        raise UsageError(f"--compute-capability: is for --target trt-rtx, not {target}")
    cut, number_format, engine_batch = parse_layouts(layouts), _precision(precision), _batch(batch)
    opened = Run.open(run)
    folder = output or Path("bundles") / opened.name
    BundleWriter(folder, overwrite=force).check()
    if number_format != "fp32":  # its ranges are found on the dataset's images
        check_data(opened.read_recipe().data)

    from edgemate.exporting import ExportOptions, export_run

    with showing_progress(quiet) as progress:
        exported = export_run(
            opened,
            folder,
            target=target,
            options=ExportOptions(
                layouts=cut,
                precision=number_format,
                tolerance=tolerance,
                engine_batch=engine_batch,
                require_engines=require_engines,
                compute_capabilities=_capabilities(compute_capability),
                overwrite=force,
                progress=progress,
            ),
        )
    _print(exported, folder)


def _precision(given: str) -> Precision:
    from typing import get_args

    from edgemate.bundle.manifest import Precision
    from edgemate.errors import UsageError

    for known in get_args(Precision):
        if given == known:
            return known  # type: ignore[no-any-return]
    raise UsageError(f"--precision {given!r}: must be one of {', '.join(get_args(Precision))}")


def _batch(given: str | None) -> tuple[int, int, int] | None:
    from edgemate.runtime.backends.tensorrt.options import BatchRange

    if given is None:
        return None
    batch = BatchRange.parse(given)
    return batch.min, batch.opt, batch.max


def _capabilities(given: str | None) -> tuple[str, ...]:
    return () if given is None else tuple(capability.strip() for capability in given.split(","))


def _print(exported: Exported, path: Path) -> None:
    from edgemate.cli.figures import engineering

    console = make_console()
    _print_table(exported, console)
    manifest = exported.bundle.manifest
    kept = () if manifest.precision is None else manifest.precision.kept_fp32
    lines = [f"kept in fp32: {', '.join(kept)}"] if kept else []
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
    else:
        lines[-1] += f"   next: edgemate classify {path} IMAGE"
    for line in lines:
        console.out(line)


def _print_table(exported: Exported, console: Console) -> None:
    from rich.table import Table

    from edgemate.cli.figures import engineering, percent

    manifest = exported.bundle.manifest
    images = max(layout[0].images for layout in exported.agreement.values())
    precision = "" if manifest.precision is None else f" in {manifest.precision.name}"
    layouts = ", ".join(exported.agreement)
    table = Table(
        title=f"{manifest.name}: {layouts}{precision} against the network on {counted(images, 'image')}",
        title_justify="left",
    )
    table.add_column("exit")
    columns = ["MACs", "test accuracy", "largest difference", "its limit", "top-1 agreement"]
    for column in [*columns, "change, points"] if manifest.precision else columns:
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
        if manifest.precision:
            changes = [agreement.accuracy_change for agreement in found if agreement.accuracy_change is not None]
            row.append(f"{100 * min(changes):+.2f}" if changes else "–")
        table.add_row(*row)
    print_table(table, console)
