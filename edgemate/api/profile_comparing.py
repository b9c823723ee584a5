"""`compare_profiles`: what got worse since an earlier profile."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgemate.api.opening import BundleLike, PathLike, RunLike
    from edgemate.profiling import Profile
    from edgemate.profiling.comparing import Comparison
    from edgemate.profiling.stored_profile import StoredProfile


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
    from edgemate.api.opening import open_either
    from edgemate.bundle import Bundle
    from edgemate.machine import machine_metadata, usable_cores
    from edgemate.profiling.assembling import network_of
    from edgemate.profiling.comparing import check_same
    from edgemate.profiling.stored_profile import describe_device
    from edgemate.sensors.power_mode import read_power_mode

    opened = open_either(path, verify=False)
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
