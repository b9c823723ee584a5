"""Training: recipe → run."""

from edgemate.training.checking import check_recipe
from edgemate.training.train import train

__all__ = ["check_recipe", "train"]
