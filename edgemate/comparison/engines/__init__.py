"""Engines: what places the trainings of a comparison, on this machine or on a cluster. One file each."""

from edgemate.comparison.engines.engine import Engine, Reports

__all__ = ["Engine", "Reports"]
