"""The power of a machine is measured with the batch that was timed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import pytest
from counting_backend import CountingBackend
from golden_backend import GoldenBackend

from edgemate.bundle import Bundle
from edgemate.runtime import AnytimeClassifier
from edgemate.runtime.power import measure_power
from edgemate.sensors.energy import Consumed
from edgemate.sensors.energy.sensor import PowerSensor


class Told(PowerSensor):
    """A sensor that says what it is told to."""

    name, scope = "a sensor", "the board"

    @contextlib.contextmanager
    def running(self) -> Iterator[Consumed]:
        found = Consumed()
        yield found
        found.joules, found.seconds = 4.0, 1.0

    def watts(self) -> float:
        raise AssertionError("it is told")


def test_a_batch_is_not_divided(small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgemate.runtime.power.find_energy_sensor", lambda part, gpu: Told())
    monkeypatch.setattr("edgemate.runtime.power.SECONDS", 0.01)
    backend = CountingBackend(GoldenBackend(small_bundle))
    images = np.concatenate([small_bundle.golden().images] * 2)[:40]  # more than the usual batch of 32
    with AnytimeClassifier(small_bundle, backend) as classifier:
        assert measure_power(classifier, images).value["busy_watts"] == 4.0
    assert backend.calls
    assert {rows for _, rows in backend.calls} == {40}
