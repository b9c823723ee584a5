"""`measure_energy`: the energy that an image takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from edgemate.sensors.energy.sensor import EnergySensor

SECONDS = 1.0
"""Shortest time to measure: many updates of a sensor, which come every 1 to 20 ms."""


@dataclass(frozen=True)
class EnergyPerImage:
    """The energy of an image, with what the machine uses anyway.

    Attributes:
        millijoules: per image, as the sensor measured it.
        idle_millijoules: what of that the idle machine would have used in the same time.
        images: images that were classified meanwhile.
    """

    millijoules: float
    idle_millijoules: float
    images: int


def idle_watts(sensor: EnergySensor, seconds: float = SECONDS) -> float:
    """Mean power while this process sleeps."""
    with sensor.running() as consumed:
        time.sleep(seconds)
    return consumed.joules / consumed.seconds


def measure_energy(
    sensor: EnergySensor, call: Callable[[], object], images: int, *, idle: float, seconds: float = SECONDS
) -> EnergyPerImage:
    """Repeat `call`, which classifies `images` images, for `seconds` or longer.

    Args:
        sensor: what measures.
        call: warm.
        images: per call.
        idle: watts of the idle machine.
        seconds: see above.

    Raises:
        OSError: the sensor can no longer be read.
    """
    calls = 0
    with sensor.running() as consumed:
        end = time.perf_counter() + seconds
        while calls == 0 or time.perf_counter() < end:
            call()
            calls += 1
    done = calls * images
    return EnergyPerImage(1e3 * consumed.joules / done, 1e3 * idle * consumed.seconds / done, done)
