"""A bundle as a model repository of NVIDIA's Triton Inference Server."""

from edgemate.exporting.triton.repository import Platform, write_repository

__all__ = ["Platform", "write_repository"]
