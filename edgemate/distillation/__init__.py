"""Objectives that train all exits together, one per file behind one small interface."""

from edgemate.distillation.building import build_method
from edgemate.distillation.method import Batch, Loss, Method, Progress, Setting

__all__ = ["Batch", "Loss", "Method", "Progress", "Setting", "build_method"]
