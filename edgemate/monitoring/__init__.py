"""Monitoring: whether a running classifier still behaves as it did on the calibration split."""

from edgemate.monitoring.accuracy_gap import AccuracyGap, accuracy_gap
from edgemate.monitoring.drift import drift_alerts
from edgemate.monitoring.statistics import Statistics, read_statistics

__all__ = ["AccuracyGap", "Statistics", "accuracy_gap", "drift_alerts", "read_statistics"]
