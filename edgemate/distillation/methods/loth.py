"""`loth` (ACM MM 2024): a head that sees the features of all exits learns with them and teaches each of them.

Formula and defaults as in the authors' code, cloak-s/LOTH, generalized from 4 exits to K. The fusion head is **our
reconstruction**: theirs lays the exits' feature maps side by side, weighs their channels by an attention of its own and
brings them to the width of one exit by a 1×1 convolution; ours has no attention and reads the pooled features, so that
exits of any width and size may meet. Theirs has weight decay 1e-5, ours none.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from edgemate.config import Tune
from edgemate.distillation.fusion import FusionHead
from edgemate.distillation.method import Batch, Loss, Method, Progress, Setting
from edgemate.distillation.terms import kl_to
from edgemate.errors import UsageError
from edgemate.models import ExitOutputs


class LOTH(Method):
    """A fusion head z_f learns from the labels and the exits' mean, and exits from the labels and the fusion head.

        fusion head   CE(z_f, y) + T² KL(s_T(sg z̄) ‖ s_T(z_f)),  z̄ = mean of all z_k
        exit k        (2 − A^{K+1−k}) CE(z_k, y) + A^{K+1−k} T² KL(s_T(sg z_f) ‖ s_T(z_k))

    The fusion head's own terms flow on into the features that it reads, and so train the network too.

    Args:
        setting: what it is built for.
        balance: A; earlier exits listen to the fusion head more and to the labels less. 1 treats all alike.
        temperature: T.

    Raises:
        UsageError: with so many exits the first one's weight of labels, 2 − A^K, is negative.
    """

    weighs_classes = True
    keeps_state = True

    def __init__(
        self,
        setting: Setting,
        *,
        balance: Annotated[float, Field(ge=1, le=2), Tune(1.0, 1.9, root=True)] = 1.15,
        temperature: Annotated[float, Field(gt=0), Tune(1.0, 8.0, log=True)] = 3.0,
    ) -> None:
        super().__init__(setting)
        k = setting.exits
        fractions = [balance ** (k - i) for i in range(k)]
        if fractions[0] > 2:
            raise UsageError(
                f"loth's weight of the labels at exit 1, 2 − {balance:g}^{k}, is negative; "
                f"with {k} exits set distillation.options.balance to {2 ** (1 / k) - 5e-3:.2f} or less"
            )
        self.temperature = temperature
        self.register_buffer("fractions", torch.tensor(fractions, dtype=torch.float32), persistent=False)
        self.fractions: Tensor
        self.fusion = FusionHead(setting.pooled_widths, setting.classes, nn.BatchNorm1d)

    @property
    def label_weight(self) -> float:
        """The mean of 2 − A^{K+1−k}; the fusion head's labels reach features, not logits."""
        return float((2 - self.fractions).mean())

    def forward(self, outputs: ExitOutputs, batch: Batch, progress: Progress) -> Loss:
        """The four terms and their sum."""
        logits = outputs.logits
        fused = self.fusion(outputs.pooled)
        mean = logits.detach().mean(1, keepdim=True)
        terms = {
            "labels": self.hard_labels(logits, batch.labels) @ (2 - self.fractions),
            "fusion": kl_to(fused.detach(), logits, self.temperature) @ self.fractions,
            "fusion_labels": self.hard_labels(fused, batch.labels).sum(),
            "fusion_ensemble": kl_to(mean, fused, self.temperature).sum(),
        }
        total = torch.stack(list(terms.values())).sum()
        return Loss(total, {name: term.detach() for name, term in terms.items()})
