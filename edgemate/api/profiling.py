"""`profile`: what every exit and operating point of a run or a bundle costs and gives."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgemate.progress import SILENT, Progress

if TYPE_CHECKING:
    from edgemate.api.opening import BundleLike, PathLike, RunLike
    from edgemate.profiling import Profile
    from edgemate.runtime.labeled import LabeledImages

DEFAULT_FOLDER = "profile"

IMAGES = 500
"""Classified for the curve of accuracy against latency, if no number is given."""


def profile(
    path: RunLike | BundleLike,
    *,
    images: int | None = None,
    batches: Sequence[int] = (1,),
    threads: int | None = None,
    repeats: int = 100,
    data: PathLike | LabeledImages | None = None,
    output: PathLike | None = None,
    layers: bool = False,
    device_specs: Sequence[str] = (),
    trusted_keys: PathLike | None = None,
    trust_engines: bool = False,
    allow_plugins: bool = False,
    progress: Progress = SILENT,
) -> Profile:
    """Count, score and time every exit; write `profile.json`, `report.html` and the curves into a folder.

    A run is timed in PyTorch, on the CPU and on a CUDA GPU if there is one, and in ONNX Runtime; a bundle in ONNX
    Runtime, and in TensorRT if it has engines for this device. Energy is measured if there is a sensor.

    Args:
        path: the folder of a run or of a bundle, whose hashes are checked, or a Run or Bundle. The dataset of a run
            must be available.
        images: images to classify for the curve of accuracy against latency, 500 if None; of a bundle only with
            `data`, since without it none are.
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
        trusted_keys: of a bundle: a file or folder of public keys; it must be signed by one of them.
        trust_engines: of a bundle: run its engines whoever built them.
        allow_plugins: of a run: let the code be imported that its recipe names by dotted paths.
        progress: receives the steps and how far each is.

    Returns:
        Everything that was found; latencies in ms.

    Raises:
        RunError: the run has not finished, or its files cannot be read.
        BundleError: the bundle cannot be used, or has no calibration logits.
        DataError: the dataset is missing or damaged.
        ExportError: the network cannot be exported for ONNX Runtime.
        BackendError: ONNX Runtime is not installed or cannot run the bundle.
        UsageError: `path` is neither a run nor a bundle, a number is not positive, `data` is given for a run or has
            no labels, `layers` or `device_specs` for a bundle, or `images` for one without `data`, a device
            specification cannot be used, or `output` is inside the bundle.

    Example:
        >>> profile = edgemate.profile("runs/digits", images=100, threads=1)
        >>> [exit.macs for exit in profile.exits]  # doctest: +SKIP
        [5927936, 8868352, 11789824]
    """
    from edgemate import files
    from edgemate.api.opening import open_either
    from edgemate.api.profile_report import write_own_report
    from edgemate.bundle import Bundle
    from edgemate.file_group import together

    check_profile(
        path,
        images=images,
        batches=batches,
        threads=threads,
        repeats=repeats,
        data=data,
        output=output,
        layers=layers,
        device_specs=device_specs,
        allow_plugins=allow_plugins,
    )
    classified = IMAGES if images is None else images
    opened = open_either(path, trusted_keys=trusted_keys, trust_engines=trust_engines, allow_plugins=allow_plugins)
    folder = profile_folder(path, output)
    files.check_folder(folder)
    with together(folder):  # figures, curves and page
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
                images=classified,
                batches=batches,
                threads=threads,
                repeats=repeats,
                progress=progress,
            )
            write_own_report(opened, found, folder, progress)
            return found
        from edgemate.profiling import profile_run

        found = profile_run(
            opened,
            folder,
            images=classified,
            batches=batches,
            threads=threads,
            repeats=repeats,
            layers=layers,
            device_specs=device_specs,
            progress=progress,
        )
        write_own_report(opened, found, folder, progress)
        return found


def check_profile(
    path: RunLike | BundleLike,
    *,
    images: int | None = None,
    batches: Sequence[int] = (1,),
    threads: int | None = None,
    repeats: int = 100,
    data: PathLike | LabeledImages | None = None,
    output: PathLike | None = None,
    layers: bool = False,
    device_specs: Sequence[str] = (),
    trusted_keys: PathLike | None = None,
    allow_plugins: bool = False,
) -> None:
    """Check what is asked of `profile`, without PyTorch, whose import takes seconds, and before anything is measured.

    Arguments are those of `profile`. Hashes of a bundle are checked only with its signature, for `trusted_keys`.

    Raises:
        RunError: the run has not finished, or its files cannot be read.
        RecipeError: the run's recipe is not valid, or names code that is not allowed.
        DataError: the run's dataset is missing.
        BundleError: the bundle cannot be used.
        UsageError: as by `profile`.
    """
    from edgemate.api.opening import open_either
    from edgemate.bundle import Bundle
    from edgemate.errors import UsageError
    from edgemate.output_place import check_outside_bundles
    from edgemate.profiling.assembling import check_numbers
    from edgemate.profiling.device_spec import read_device_specs

    check_numbers(batches, images=images, threads=threads, repeats=repeats)
    read_device_specs(device_specs)
    opened = open_either(path, verify=False, trusted_keys=trusted_keys, allow_plugins=allow_plugins)
    folder = profile_folder(path, output)
    check_outside_bundles(folder)
    if not isinstance(opened, Bundle):
        if data is not None:
            raise UsageError(
                f"{opened.path}: `data`: a run is scored on its own test split; export it, and profile the bundle"
            )
        from edgemate.data import check_data

        check_data(opened.read_recipe().data)
        return
    if layers or device_specs:
        option = "layers" if layers else "device_specs"
        raise UsageError(
            f"{opened.path}: `{option}`: a bundle has no network to count; profile the run that it is from"
        )
    if images is not None and data is None:
        raise UsageError(
            f"{opened.path}: `images`: without `data` no image of a bundle is classified; give both, or leave it out"
        )


def profile_folder(path: RunLike | BundleLike, output: PathLike | None = None) -> Path:
    """The folder that `profile` writes to."""
    from edgemate.bundle import Bundle
    from edgemate.runs import Run

    if output is not None:
        return Path(output)
    folder = path.path if isinstance(path, (Bundle, Run)) else Path(path)
    return Path(DEFAULT_FOLDER) / folder.resolve().name if (folder / "bundle.json").is_file() else folder
