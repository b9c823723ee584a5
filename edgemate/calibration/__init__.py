"""Calibration: from stored logits to temperatures and operating points. In numpy alone."""

from edgemate.calibration.bundle_calibration import calibrate_bundle
from edgemate.calibration.calibrator import DEFAULT_REQUESTS, Calibrated, CalibrationOptions, Request, calibrate
from edgemate.calibration.goals import Goal
from edgemate.calibration.guarantee import Certification, certify
from edgemate.calibration.operating_points import (
    OperatingPoint,
    OperatingPoints,
    read_operating_points,
    write_operating_points,
)
from edgemate.calibration.simulation import Simulated, simulate, simulate_split
from edgemate.calibration.stored_split import StoredSplit

__all__ = [
    "DEFAULT_REQUESTS",
    "Calibrated",
    "CalibrationOptions",
    "Certification",
    "Goal",
    "OperatingPoint",
    "OperatingPoints",
    "Request",
    "Simulated",
    "StoredSplit",
    "calibrate",
    "calibrate_bundle",
    "certify",
    "read_operating_points",
    "simulate",
    "simulate_split",
    "write_operating_points",
]
