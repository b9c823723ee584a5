"""Exit policies, which say when to stop, and threshold calibration, in numpy alone."""

from edgemate.exits.confidence import Confidence
from edgemate.exits.deadline import Deadline
from edgemate.exits.entropy import Entropy
from edgemate.exits.fixed import FixedExit
from edgemate.exits.margin import Margin
from edgemate.exits.operating_points import OperatingPoint, OperatingPoints, read_operating_points
from edgemate.exits.patience import Patience
from edgemate.exits.policy import Decider, Policy
from edgemate.exits.thresholds import Simulated, choose_confidence, operating_points, simulate

__all__ = [
    "Confidence",
    "Deadline",
    "Decider",
    "Entropy",
    "FixedExit",
    "Margin",
    "OperatingPoint",
    "OperatingPoints",
    "Patience",
    "Policy",
    "Simulated",
    "choose_confidence",
    "operating_points",
    "read_operating_points",
    "simulate",
]
