"""Answers about images over HTTP, by the Open Inference Protocol (KServe v2)."""

from edgemate.serving.options import ServeOptions
from edgemate.serving.server import serve

__all__ = ["ServeOptions", "serve"]
