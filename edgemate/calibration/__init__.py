"""Calibration: from stored logits to temperatures and operating points. In numpy alone."""

from edgemate.calibration.bundle_calibration import calibrate_bundle
from edgemate.calibration.calibrator import DEFAULT_REQUESTS, Calibrated, Request, calibrate
from edgemate.calibration.goals import Goal
from edgemate.calibration.guarantee import Guaranteed, guaranteed
from edgemate.calibration.operating_points import OperatingPoint, OperatingPoints, read_operating_points
from edgemate.calibration.simulation import Simulated, simulate
from edgemate.calibration.stored_split import StoredSplit

__all__ = [
    "DEFAULT_REQUESTS",
    "Calibrated",
    "Goal",
    "Guaranteed",
    "OperatingPoint",
    "OperatingPoints",
    "Request",
    "Simulated",
    "StoredSplit",
    "calibrate",
    "calibrate_bundle",
    "guaranteed",
    "read_operating_points",
    "simulate",
]
