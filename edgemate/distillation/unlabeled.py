"""Images with and without labels in one batch."""

from __future__ import annotations

from torch import Tensor

from edgemate.distillation.method import Batch
from edgemate.models import ExitOutputs


def labeled_part(outputs: ExitOutputs, batch: Batch) -> tuple[ExitOutputs, Batch]:
    """What a method that knows no unlabeled images may see of a batch: those with a label."""
    known = batch.labels >= 0
    return _chosen(outputs, known), batch._replace(images=batch.images[known], labels=batch.labels[known])


def by_domain(outputs: ExitOutputs, batch: Batch) -> tuple[ExitOutputs, ExitOutputs]:
    """The outputs for the labeled images (source), and those for the unlabeled (target)."""
    known = batch.labels >= 0
    return _chosen(outputs, known), _chosen(outputs, ~known)


def _chosen(outputs: ExitOutputs, which: Tensor) -> ExitOutputs:
    return ExitOutputs(
        outputs.logits[which],
        tuple(feature[which] for feature in outputs.pooled),
        tuple(feature_map[which] for feature_map in outputs.maps),
    )
