"""`edgemate profile`: what every exit and operating point of runs and bundles costs and gives."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgemate.cli.backend_options import Threads
from edgemate.cli.console import make_console
from edgemate.cli.progress import Quiet, showing_progress, total_time
from edgemate.cli.screen import print_json
from edgemate.cli.trust import AllowPlugins, TrustedKeys, TrustEngines

_TOLERANCE, _ACCURACY_TOLERANCE = "5%", "1%"
_DIGITS = 100
"""Python converts no text of more than some thousand."""

if TYPE_CHECKING:
    from edgemate.profiling import Profile
    from edgemate.profiling.stored_profile import StoredProfile


def profile(
    paths: Annotated[list[Path], typer.Argument(help="Folders of runs or bundles.", metavar="PATH...")],
    images: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Images to classify for the latency curve, of a run's test split or of --data; 500 if absent.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[str, typer.Option(help="Batch sizes to time, such as 1,4,16; 1 is always among them.")] = "1",
    threads: Threads = None,
    trusted_keys: TrustedKeys = None,
    trust_engines: TrustEngines = False,
    allow_plugins: AllowPlugins = False,
    repeats: Annotated[int, typer.Option(min=1, help="Timed calls per graph; slow graphs have fewer.")] = 100,
    data: Annotated[
        Path | None,
        typer.Option(help="Of a bundle: labeled images, a folder with one folder per class or .npz."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for the files; if absent the run's, or profile/NAME for a bundle."),
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="List the layers of a run, also in layers.csv.")] = False,
    device_spec: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Estimate the latency floor of a run on orin-nano, orin-nx, agx-orin, thor or the device of a YAML "
            "file; repeatable.",
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Also write one report of all paths to this file, with its curves beside it.")
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(help="profile.json of an earlier profile: exit with 1 if something got worse."),
    ] = None,
    tolerance: Annotated[
        str | None, typer.Option(help=f"With --compare: accepted change of times and sizes; {_TOLERANCE} if absent.")
    ] = None,
    accuracy_tolerance: Annotated[
        str | None,
        typer.Option(help=f"With --compare: accepted loss of accuracy, in points; {_ACCURACY_TOLERANCE} if absent."),
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="With --compare: compare another network or device too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; a list for several paths.")] = False,
    quiet: Quiet = False,
) -> None:
    """Count, score and time every exit; write profile.json, report.html and the curves.

    A run is timed in PyTorch and in ONNX Runtime, a bundle in ONNX Runtime and, where it has engines, in TensorRT.
    Without --data a bundle is scored by the calibration logits that it has. Energy is measured if there is a sensor.
    """
    from edgemate import api
    from edgemate.api.opening import is_run_folder
    from edgemate.api.profile_comparing import check_baseline
    from edgemate.api.profile_report import check_page, write_combined_report
    from edgemate.api.profiling import check_profile
    from edgemate.cli.fractions import parse_fraction
    from edgemate.cli.profile_tables import print_combined, print_profile
    from edgemate.errors import UsageError
    from edgemate.profiling.stored_profile import read_stored_profile

    started = time.monotonic()
    asked = {"tolerance": tolerance, "accuracy-tolerance": accuracy_tolerance, "anyway": anyway}
    unused = [name for name, value in asked.items() if value not in (None, False)]
    if compare is None and unused:
        raise UsageError(f"--{unused[0]}: only with --compare BASELINE.json")
    accepted = (
        parse_fraction("tolerance", _TOLERANCE if tolerance is None else tolerance),
        parse_fraction("accuracy_tolerance", _ACCURACY_TOLERANCE if accuracy_tolerance is None else accuracy_tolerance),
    )
    batches = parse_batches(batch)
    folders = _folders(paths, output)
    baseline: StoredProfile | None = None
    if compare is not None and len(paths) > 1:
        raise UsageError(f"compare: takes one path at a time, not {len(paths)}")
    # Bundles beside runs have no use for it; where there are none but bundles, it is refused.
    runs = [path for path in paths if is_run_folder(path)]
    images_of = [images if path in runs or not runs else None for path in paths]
    options: dict[str, Any] = {
        "batches": batches,
        "threads": threads,
        "repeats": repeats,
        "data": data,
        "layers": layers,
        "device_specs": device_spec or (),
    }
    for path, folder, number in zip(paths, folders, images_of, strict=True):  # all before minutes go into the first
        check_profile(
            path, images=number, output=folder, trusted_keys=trusted_keys, allow_plugins=allow_plugins, **options
        )
    if compare is not None:
        baseline = read_stored_profile(compare)  # before it is overwritten, if it is that of this run
        check_baseline(paths[0], baseline, threads=threads, anyway=anyway)
    if html is not None:
        check_page(html, folders, compare)
    found = []
    for path, folder, number in zip(paths, folders, images_of, strict=True):
        with showing_progress(quiet) as progress:
            found.append(
                api.profile(
                    path,
                    images=number,
                    output=folder,
                    trusted_keys=trusted_keys,
                    trust_engines=trust_engines,
                    allow_plugins=allow_plugins,
                    progress=progress,
                    **options,
                )
            )
        if not as_json:
            print_profile(found[-1], folder, path)
    if len(found) > 1 and not as_json:
        print_combined(found)
    if html is not None:
        written = write_combined_report(
            paths,
            found,
            html,
            trusted_keys=trusted_keys,
            trust_engines=trust_engines,
            allow_plugins=allow_plugins,
        )
        if not as_json:
            make_console().out(f"written: {', '.join(map(str, written))}")
    if not as_json:
        make_console().out(total_time(started))
    if baseline is not None:
        _compare(found[0], baseline, accepted, anyway=anyway, as_json=as_json)
    elif as_json:
        print_json(found[0].to_json() if len(found) == 1 else [one.to_json() for one in found])


def parse_batches(text: str) -> tuple[int, ...]:
    """Batch sizes such as `1,4,16`; UsageError if one is not a positive number."""
    from edgemate.errors import UsageError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) <= _DIGITS and int(part) > 0 for part in parts):
        raise UsageError(f"batch {text!r}: must be numbers of 1 or more with commas between them, such as 1,4,16")
    return tuple(int(part) for part in parts)


def _folders(paths: Sequence[Path], output: Path | None) -> list[Path]:
    """Where each profile goes; UsageError if two go to the same place."""
    from edgemate.api.profiling import profile_folder
    from edgemate.errors import UsageError

    def folder_of(path: Path) -> Path:
        if output is None or len(paths) == 1:
            return profile_folder(path, output)
        return output / path.resolve().name

    folders: dict[Path, Path] = {}
    for path in paths:
        folder = folder_of(path)
        if folder.resolve() in folders:
            raise UsageError(f"{path}: its profile and that of {folders[folder.resolve()]} would both go to {folder}")
        folders[folder.resolve()] = path
    return [folder_of(path) for path in paths]


def _compare(
    profile: Profile, baseline: StoredProfile, accepted: tuple[float, float], *, anyway: bool, as_json: bool
) -> None:
    """Print the comparison; exit with 1 if something got worse."""
    from edgemate.cli.profile_comparison import print_comparison
    from edgemate.profiling.comparing import compare_profiles
    from edgemate.profiling.stored_profile import parse_profile

    tolerance, accuracy_tolerance = accepted
    compared = compare_profiles(
        parse_profile(profile.to_json(), profile.run),
        baseline,
        tolerance=tolerance,
        accuracy_tolerance=accuracy_tolerance,
        anyway=anyway,
    )
    if as_json:
        print_json({**profile.to_json(), "comparison": compared.to_json()})
    else:
        print_comparison(compared)
    if compared.worse:
        raise typer.Exit(1)
