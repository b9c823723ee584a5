"""A loss that sums over a batch, in several parts of it."""

from __future__ import annotations

import torch
from exit_outputs import SETTING, batch_of, make_outputs

from edgemate.distillation import Progress
from edgemate.distillation.methods.byot import BYOT
from edgemate.models import ExitOutputs

EARLY = Progress(epoch=1, epochs=10, fraction=0.1)


def test_the_mean_over_parts_of_a_batch_is_the_loss_of_the_whole() -> None:
    method = BYOT(SETTING, beta=0.1)
    outputs, labels = make_outputs()
    whole = method(outputs, batch_of(labels), EARLY)
    parts = []
    for part in (slice(0, 3), slice(3, 6)):
        seen = ExitOutputs(outputs.logits[part], tuple(feature[part] for feature in outputs.pooled))
        parts.append(method(seen, batch_of(labels[part])._replace(parts=2.0), EARLY))
    torch.testing.assert_close(torch.stack([part.total for part in parts]).mean(), whole.total)
    for name, term in whole.terms.items():
        torch.testing.assert_close(torch.stack([part.terms[name] for part in parts]).mean(), term)
