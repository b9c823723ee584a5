"""Objectives that train all exits together, one per file behind one small interface."""

from edgemate.distillation.method import Batch, Loss, Method, Progress, Setting, build_method

__all__ = ["Batch", "Loss", "Method", "Progress", "Setting", "build_method"]
