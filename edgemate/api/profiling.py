"""`profile`: what every exit and operating point of a run costs and gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgemate.progress import SILENT, Progress

if TYPE_CHECKING:
    from edgemate.api.opening import RunLike
    from edgemate.profiling import Profile


def profile(
    run: RunLike,
    *,
    images: int = 500,
    threads: int | None = None,
    repeats: int = 100,
    layers: bool = False,
    device_specs: Sequence[str] = (),
    progress: Progress = SILENT,
) -> Profile:
    """Count, score and time every exit of a run; write `profile.json`, `tradeoff.csv` and `tradeoff.png` into it.

    Times are of this machine's CPU at batch 1, in PyTorch and in ONNX Runtime.

    Args:
        run: a run's folder or a Run. Its dataset must be available.
        images: test images to classify for the latency curve.
        threads: CPU threads; all usable cores if None.
        repeats: timed calls per exit.
        layers: write `layers.csv`, one row per layer, and the same into `profile.json`.
        device_specs: shipped names (`orin-nano`, `orin-nx`, `agx-orin`, `thor`) or files of devices whose latency
            floors are estimated, into `roofline.csv` too.
        progress: receives the steps and how far each is.

    Returns:
        Everything that was found; latencies in ms.

    Raises:
        RunError: the run is missing or has not finished.
        DataError: the dataset is missing or damaged.
        ExportError: the network cannot be exported for ONNX Runtime.
        UsageError: a number is not positive, or a device specification cannot be used.

    Example:
        >>> profile = edgemate.profile("runs/digits", images=100, threads=1)
        >>> [exit.macs for exit in profile.exits]  # doctest: +SKIP
        [5927936, 8868352, 11789824]
    """
    from edgemate import files
    from edgemate.api.opening import open_run
    from edgemate.data import check_data
    from edgemate.profiling.device_spec import read_device_specs

    # What is wrong and needs no PyTorch to be found comes first: importing it takes seconds.
    read_device_specs(device_specs)
    opened = open_run(run)
    files.check_folder(opened.path)
    check_data(opened.read_recipe().data)

    from edgemate.profiling import profile_run

    return profile_run(
        opened,
        images=images,
        threads=threads,
        repeats=repeats,
        layers=layers,
        device_specs=device_specs,
        progress=progress,
    )
