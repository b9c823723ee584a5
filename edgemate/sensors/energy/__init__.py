"""Energy per image, from the sensors of workstations, Jetsons and GPUs: one file per sensor."""

from edgemate.sensors.energy.per_image import EnergyPerImage, measure_energy
from edgemate.sensors.energy.probe import Part, find_energy_sensor
from edgemate.sensors.energy.sensor import Consumed, EnergySensor

__all__ = ["Consumed", "EnergyPerImage", "EnergySensor", "Part", "find_energy_sensor", "measure_energy"]
