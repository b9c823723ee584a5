"""Exit policies, which say when to stop, and threshold calibration, in numpy alone."""

from edgemate.exits.calibrate import DEFAULT_REQUESTS, Calibrated, Request, calibrate
from edgemate.exits.calibrate_bundle import calibrate_bundle
from edgemate.exits.confidence import Confidence
from edgemate.exits.deadline import Deadline
from edgemate.exits.entropy import Entropy
from edgemate.exits.fixed import FixedExit
from edgemate.exits.gap import AccuracyGap, accuracy_gap
from edgemate.exits.goals import Goal
from edgemate.exits.guarantee import Guaranteed, guaranteed
from edgemate.exits.latency_table import (
    LatencyTable,
    StopTimes,
    matching_latency_table,
    measured_devices,
    read_latency_table,
    write_latency_table,
)
from edgemate.exits.learned import Learned
from edgemate.exits.margin import Margin
from edgemate.exits.operating_points import OperatingPoint, OperatingPoints, read_operating_points
from edgemate.exits.patience import Patience
from edgemate.exits.policy import Decider, Policy
from edgemate.exits.score_policy import ScorePolicy
from edgemate.exits.shift import Statistics, departures, read_statistics
from edgemate.exits.simulation import Simulated, simulate
from edgemate.exits.stored import StoredSplit

__all__ = [
    "DEFAULT_REQUESTS",
    "AccuracyGap",
    "Calibrated",
    "Confidence",
    "Deadline",
    "Decider",
    "Entropy",
    "FixedExit",
    "Goal",
    "Guaranteed",
    "LatencyTable",
    "Learned",
    "Margin",
    "OperatingPoint",
    "OperatingPoints",
    "Patience",
    "Policy",
    "Request",
    "ScorePolicy",
    "Simulated",
    "Statistics",
    "StopTimes",
    "StoredSplit",
    "accuracy_gap",
    "calibrate",
    "calibrate_bundle",
    "departures",
    "guaranteed",
    "matching_latency_table",
    "measured_devices",
    "read_latency_table",
    "read_operating_points",
    "read_statistics",
    "simulate",
    "write_latency_table",
]
