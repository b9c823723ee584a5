"""Running a bundle on a device: numpy, Pillow and one inference library, nothing of what trained it."""

from edgemate.runtime.classifier import AnytimeClassifier
from edgemate.runtime.evaluate import Measured, evaluate_policy
from edgemate.runtime.exit_latency import ExitLatency, measure_exits, slower_than_later
from edgemate.runtime.input_latency import measure_input
from edgemate.runtime.prediction import Prediction
from edgemate.runtime.preprocessing import Preprocessor
from edgemate.runtime.stop_times import measure_stops
from edgemate.timing import Latency, measure, measure_alternately

__all__ = [
    "AnytimeClassifier",
    "ExitLatency",
    "Latency",
    "Measured",
    "Prediction",
    "Preprocessor",
    "evaluate_policy",
    "measure",
    "measure_alternately",
    "measure_exits",
    "measure_input",
    "measure_stops",
    "slower_than_later",
]
