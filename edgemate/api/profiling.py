"""`profile`: what every exit and operating point of a run or a bundle costs and gives; `compare_profiles`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgemate.progress import SILENT, Progress

if TYPE_CHECKING:
    from edgemate.api.opening import BundleLike, PathLike, RunLike
    from edgemate.bundle import Bundle
    from edgemate.errors import UsageError
    from edgemate.profiling import Profile
    from edgemate.profiling.comparing import Comparison
    from edgemate.profiling.stored_profile import StoredProfile
    from edgemate.runs import Run
    from edgemate.runtime.labeled import LabeledImages

DEFAULT_FOLDER = "profile"


def profile(
    path: RunLike | BundleLike,
    *,
    images: int = 500,
    batches: Sequence[int] = (1,),
    threads: int | None = None,
    repeats: int = 100,
    data: PathLike | LabeledImages | None = None,
    output: PathLike | None = None,
    layers: bool = False,
    device_specs: Sequence[str] = (),
    progress: Progress = SILENT,
) -> Profile:
    """Count, score and time every exit; write `profile.json`, `report.html` and the curves into a folder.

    A run is timed in PyTorch, on the CPU and on a CUDA GPU if there is one, and in ONNX Runtime; a bundle in ONNX
    Runtime, and in TensorRT if it has engines for this device. Energy is measured if there is a sensor.

    Args:
        path: the folder of a run or of a bundle, whose hashes are checked, or a Run or Bundle. The dataset of a run
            must be available.
        images: images to classify for the curve of accuracy against latency; of a bundle without `data`, none are.
        batches: batch sizes to time; 1 is always among them.
        threads: CPU threads; all usable cores if None.
        repeats: timed calls per graph.
        data: of a bundle: labeled images to score, as a folder with one folder per class, an `.npz` file or
            LabeledImages. If None, the calibration logits that the bundle has are scored.
        output: the folder to write to. If None, the run's own, or `profile/<name of the bundle's folder>` in the
            current folder, since the files of a bundle are listed in it.
        layers: of a run: write `layers.csv`, one row per layer, and the same into `profile.json`.
        device_specs: of a run: shipped names (`orin-nano`, `orin-nx`, `agx-orin`, `thor`) or files of devices whose
            latency floors are estimated, into `roofline.csv` too.
        progress: receives the steps and how far each is.

    Returns:
        Everything that was found; latencies in ms.

    Raises:
        RunError: the run is missing or has not finished.
        BundleError: the bundle cannot be used, or has no calibration logits.
        DataError: the dataset is missing or damaged.
        ExportError: the network cannot be exported for ONNX Runtime.
        BackendError: ONNX Runtime is not installed or cannot run the bundle.
        UsageError: a number is not positive, `data` is given for a run or has no labels, `layers` or `device_specs` for
            a bundle, a device specification cannot be used, or `output` is inside the bundle.

    Example:
        >>> profile = edgemate.profile("runs/digits", images=100, threads=1)
        >>> [exit.macs for exit in profile.exits]  # doctest: +SKIP
        [5927936, 8868352, 11789824]
    """
    from edgemate import files
    from edgemate.bundle import Bundle
    from edgemate.profiling.device_spec import read_device_specs

    # What is wrong and needs no PyTorch to be found comes first: importing it takes seconds.
    read_device_specs(device_specs)
    opened = _open(path)
    if isinstance(opened, Bundle) and (layers or device_specs):
        raise _not_of_a_bundle(opened.path, "layers" if layers else "device_specs")
    folder = profile_folder(path, output)
    files.check_folder(folder)
    if isinstance(opened, Bundle):
        from edgemate.profiling import profile_bundle
        from edgemate.runtime.labeled import read_labeled

        data_name = None
        if isinstance(data, (str, os.PathLike)):
            data_name, data = os.fspath(data), read_labeled(Path(data), opened.manifest.classes)
        found = profile_bundle(
            opened,
            folder,
            data=data,
            data_name=data_name,
            images=images,
            batches=batches,
            threads=threads,
            repeats=repeats,
            progress=progress,
        )
        _write_report(opened, found, folder, progress)
        return found
    _refuse_data(opened.path, data)

    from edgemate.data import check_data

    check_data(opened.read_recipe().data)

    from edgemate.profiling import profile_run

    found = profile_run(
        opened,
        folder,
        images=images,
        batches=batches,
        threads=threads,
        repeats=repeats,
        layers=layers,
        device_specs=device_specs,
        progress=progress,
    )
    _write_report(opened, found, folder, progress)
    return found


def write_combined_report(
    paths: Sequence[RunLike | BundleLike], profiles: Sequence[Profile], page: PathLike
) -> tuple[Path, ...]:
    """Write one report of several runs and bundles, and the files of its curves beside it.

    Args:
        paths: what was profiled.
        profiles: what `profile` returned for each.
        page: the HTML file. The curves have its name, with the suffixes csv, json, png and svg.

    Returns:
        The files written.

    Raises:
        UsageError: the file's name has no suffix `.html`.
        ModuleNotFoundError: what the report needs is not installed.
    """
    from edgemate.report import write_report

    path = Path(page)
    check_page(path)
    found = write_report(
        [_open(one) for one in paths],
        [one.to_json() for one in profiles],
        path,
        path.with_suffix(""),
        [one.scored for one in profiles],
    )
    if path not in found.paths:
        raise ModuleNotFoundError(f"No module named {found.left_out[path.name]!r}", name=found.left_out[path.name])
    return found.paths


def check_page(page: Path) -> None:
    """Check before anything is measured that a report can be written to `page`. Raises UsageError, OSError."""
    from edgemate import files
    from edgemate.errors import UsageError

    if page.suffix.lower() != ".html":
        raise UsageError(f"html {page}: name a file that ends in .html")
    files.check_file(page)


def _write_report(opened: Run | Bundle, profile: Profile, folder: Path, progress: Progress) -> None:
    from edgemate.report import report_paths, write_report

    progress.step("writing the report")
    page, curves, *_ = report_paths(folder)
    write_report([opened], [profile.to_json()], page, curves.with_suffix(""), [profile.scored])


def compare_profiles(
    profile: PathLike | Profile,
    baseline: PathLike,
    *,
    tolerance: float = 0.05,
    accuracy_tolerance: float = 0.01,
    anyway: bool = False,
) -> Comparison:
    """Find what got slower, larger or less accurate than in an earlier profile, beyond the noise that both measured.

    Args:
        profile: what `profile` returned, or the `profile.json` that it wrote.
        baseline: the `profile.json` of the earlier profile.
        tolerance: relative change of times, sizes and energy that is accepted.
        accuracy_tolerance: loss of accuracy that is accepted, as a fraction.
        anyway: compare profiles of different networks or devices too.

    Returns:
        Every figure that both have, with a verdict; `worse` lists what got worse.

    Raises:
        UsageError: a file is not a profile of this format, or the network or the device is another one.

    Example:
        >>> compared = edgemate.compare_profiles("profile/new/profile.json", "profile/old/profile.json", tolerance=0.1)
        >>> [(one.figure, one.exit, one.change) for one in compared.worse]  # doctest: +SKIP
        [('onnxruntime segments p50, ms', 3, 0.13)]
    """
    from edgemate.profiling import comparing
    from edgemate.profiling.stored_profile import parse_profile, read_stored_profile

    before = read_stored_profile(Path(baseline))
    if isinstance(profile, (str, os.PathLike)):
        now = read_stored_profile(Path(profile))
    else:
        now = parse_profile(profile.to_json(), profile.run)
    return comparing.compare_profiles(
        now, before, tolerance=tolerance, accuracy_tolerance=accuracy_tolerance, anyway=anyway
    )


def check_baseline(
    path: RunLike | BundleLike, baseline: StoredProfile, *, threads: int | None = None, anyway: bool = False
) -> None:
    """Check before anything is measured that a profile of `path` here can be compared with `baseline`.

    Raises:
        UsageError: the network or the device is another one, and `anyway` is not set.
    """
    from edgemate.bundle import Bundle
    from edgemate.machine import machine_metadata, usable_cores
    from edgemate.profiling.assembling import network_of
    from edgemate.profiling.comparing import check_same
    from edgemate.profiling.stored_profile import describe_device
    from edgemate.sensors.power_mode import read_power_mode

    opened = _open(path, verify=False)
    if isinstance(opened, Bundle):
        network = network_of(opened.manifest)
    else:
        metadata = opened.read_metadata()
        shape = metadata.input
        network = {
            "classes": len(metadata.classes),
            "input": [shape["channels"], shape["height"], shape["width"]],
            "exits": list(metadata.cuts),
        }
    device = describe_device(machine_metadata(()), threads or usable_cores(), read_power_mode().value)
    check_same(network, device, baseline, anyway=anyway)


def profile_folder(path: RunLike | BundleLike, output: PathLike | None = None) -> Path:
    """The folder that `profile` writes to."""
    from edgemate.bundle import Bundle
    from edgemate.runs import Run

    if output is not None:
        return Path(output)
    folder = path.path if isinstance(path, (Bundle, Run)) else Path(path)
    return Path(DEFAULT_FOLDER) / folder.resolve().name if _is_bundle(folder) else folder


def _open(path: RunLike | BundleLike, *, verify: bool = True) -> Run | Bundle:
    """The bundle; anything that is not one is taken for a run."""
    from edgemate.api.opening import open_bundle, open_run
    from edgemate.bundle import Bundle
    from edgemate.runs import Run

    if isinstance(path, Bundle):
        return path
    if isinstance(path, Run) or not _is_bundle(Path(path)):
        return open_run(path)
    return open_bundle(path, verify=verify)


def _is_bundle(folder: Path) -> bool:
    return (folder / "bundle.json").is_file()


def _refuse_data(run: Path, data: Any) -> None:
    from edgemate.errors import UsageError

    if data is not None:
        raise UsageError(f"{run}: `data`: a run is scored on its own test split; export it, and profile the bundle")


def _not_of_a_bundle(bundle: Path, option: str) -> UsageError:
    from edgemate.errors import UsageError

    return UsageError(f"{bundle}: `{option}`: a bundle has no network to count; profile the run that it is from")
