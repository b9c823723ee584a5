"""Running a bundle on a device: numpy, Pillow and one inference library, nothing of what trained it."""

from edgemate.runtime.classifier import AnytimeClassifier
from edgemate.runtime.exit_latency import ExitLatency, measure_exits
from edgemate.runtime.latency import Latency, measure, measure_alternately
from edgemate.runtime.prediction import Prediction
from edgemate.runtime.preprocessing import Preprocessor

__all__ = [
    "AnytimeClassifier",
    "ExitLatency",
    "Latency",
    "Prediction",
    "Preprocessor",
    "measure",
    "measure_alternately",
    "measure_exits",
]
