"""edgemate: multi-exit image classifiers that really stop at the earliest exit that will do."""

__version__ = "0.1.0"
