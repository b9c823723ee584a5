"""The power that the whole network takes on this machine, by whichever sensor it has."""

from __future__ import annotations

import time
from typing import Any

import numpy.typing as npt

from edgemate.policies import FixedExit
from edgemate.progress import SILENT, Progress
from edgemate.runtime.classifier import AnytimeClassifier
from edgemate.sensors.energy import EnergySensor, find_energy_sensor
from edgemate.sensors.energy.per_image import idle_watts
from edgemate.sensors.nvml import Nvml
from edgemate.sensors.reading import Reading

SECONDS = 0.5
_ON_A_GPU = ("tensorrt", "tensorrt_rtx")


def measure_power(
    classifier: AnytimeClassifier, images: npt.NDArray[Any], *, gpu: Nvml | None = None, progress: Progress = SILENT
) -> Reading:
    """Watts of the idle machine and while the whole network runs, and the energy of an image, idle power included.

    It takes a second, and is done apart from any timing, which a sampled sensor disturbs.

    Args:
        classifier: the bundle, loaded with layout `segments` or `prefixes`, and warm.
        images: ready float32 `(N, channels, height, width)`.
        gpu: what NVML knows, for a GPU's own sensor.
        progress: receives the step.

    Returns:
        `{"sensor", "scope", "idle_watts", "busy_watts", "millijoules"}`, or why there are none.
    """
    runs_on_a_gpu = any(name in classifier.backend.metadata() for name in _ON_A_GPU)
    sensor = find_energy_sensor("gpu" if runs_on_a_gpu else "cpu", gpu=gpu)
    if not isinstance(sensor, EnergySensor):
        return sensor
    progress.step(f"measuring power by {sensor.name}")
    last = FixedExit(len(classifier.exits))
    done = 0
    try:
        idle = idle_watts(sensor, SECONDS)
        with sensor.running() as consumed:
            end = time.perf_counter() + SECONDS
            while not done or time.perf_counter() < end:
                classifier.classify(images, last, batch_size=len(images))
                done += len(images)
    except OSError as error:
        return Reading.missing(str(error))
    return Reading(
        {
            "sensor": sensor.name,
            "scope": sensor.scope,
            "idle_watts": idle,
            "busy_watts": consumed.joules / consumed.seconds,
            "millijoules": 1e3 * consumed.joules / done,
        }
    )
