"""What an energy sensor does, and the two kinds: counters of energy, and power that is sampled."""

from __future__ import annotations

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

SAMPLE_SECONDS = 0.005
"""Between two samples of power. The INA3221 of a Jetson has a new value every few milliseconds."""


@dataclass
class Consumed:
    """What was used while a block ran; known after it.

    Attributes:
        joules: energy.
        seconds: how long the block took.
    """

    joules: float = 0.0
    seconds: float = 0.0


class EnergySensor(ABC):
    """Measures the energy of a part of the machine, whatever uses it.

    Attributes:
        name: of the sensor, such as `RAPL`.
        scope: what it measures, such as `CPU packages`.
    """

    name: str
    scope: str

    @abstractmethod
    def running(self) -> contextlib.AbstractContextManager[Consumed]:
        """Measure while a block runs. Raises OSError if the sensor can no longer be read."""


class CounterSensor(EnergySensor):
    """A sensor that counts energy."""

    @abstractmethod
    def counters(self) -> Sequence[int]:
        """The counters now."""

    @abstractmethod
    def joules(self, before: Sequence[int], after: Sequence[int]) -> float:
        """The energy between two calls of `counters`."""

    @contextlib.contextmanager
    def running(self) -> Iterator[Consumed]:
        """Read the counters before and after the block."""
        found = Consumed()
        before, started = self.counters(), time.perf_counter()
        yield found
        found.seconds = time.perf_counter() - started
        found.joules = self.joules(before, self.counters())


@dataclass
class _Samples:
    watts: list[float] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    error: OSError | None = None


class PowerSensor(EnergySensor):
    """A sensor that gives the power now; a thread samples it."""

    @abstractmethod
    def watts(self) -> float:
        """The power now. Raises OSError if it cannot be read."""

    @contextlib.contextmanager
    def running(self) -> Iterator[Consumed]:
        """Sample the power while the block runs, and integrate it."""
        found, samples, stop = Consumed(), _Samples(), threading.Event()
        self._take(samples)
        thread = threading.Thread(target=self._sample, args=(samples, stop), daemon=True)
        started = time.perf_counter()
        thread.start()
        try:
            yield found
            found.seconds = time.perf_counter() - started
        finally:
            stop.set()
            thread.join()
        self._take(samples)
        if samples.error is not None:
            raise samples.error
        found.joules = mean_watts(samples.at, samples.watts) * found.seconds

    def _sample(self, samples: _Samples, stop: threading.Event) -> None:
        while not stop.wait(SAMPLE_SECONDS) and samples.error is None:
            self._take(samples)

    def _take(self, samples: _Samples) -> None:
        try:
            watts = self.watts()
        except OSError as error:
            samples.error = error
        else:
            samples.at.append(time.perf_counter())
            samples.watts.append(watts)


def mean_watts(at: Sequence[float], watts: Sequence[float]) -> float:
    """The mean of power sampled at these moments, in seconds, by the trapezoidal rule."""
    if len(at) < 2 or at[-1] <= at[0]:
        return watts[0]
    areas = ((at[i] - at[i - 1]) * (watts[i] + watts[i - 1]) / 2 for i in range(1, len(at)))
    return sum(areas) / (at[-1] - at[0])
