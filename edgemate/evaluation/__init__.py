"""Logits of every exit on a split, and the trained networks that give them."""

from edgemate.evaluation.logits import collect_logits, logit_batches
from edgemate.evaluation.trained import trained_model, untrained_model

__all__ = ["collect_logits", "logit_batches", "trained_model", "untrained_model"]
