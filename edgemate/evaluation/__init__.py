"""Logits of every exit for a split, and their accuracy and calibration error."""

from edgemate.evaluation.logits import collect_logits
from edgemate.evaluation.metrics import (
    ensemble_accuracy,
    exit_accuracy,
    expected_calibration_error,
    negative_log_likelihood,
)
from edgemate.evaluation.trained import trained_model, untrained_model

__all__ = [
    "collect_logits",
    "ensemble_accuracy",
    "exit_accuracy",
    "expected_calibration_error",
    "negative_log_likelihood",
    "trained_model",
    "untrained_model",
]
