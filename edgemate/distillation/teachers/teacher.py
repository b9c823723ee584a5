"""The network outside of the student that the exits learn from: `distillation.teacher`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from edgemate.errors import RunError, UsageError
from edgemate.runs import read_tensors

Exits = Literal["all", "final"]
"""Which exits learn from a teacher: every one, or the last only, while the others learn from labels alone."""


class TeacherOutputs(NamedTuple):
    """Outputs of a teacher for a batch, float32: logits (N, C), and the pooled feature (N, D) below them."""

    logits: Tensor
    pooled: Tensor


class TeacherNetwork(nn.Module, ABC):
    """Base of the networks that a `Teacher` holds.

    Attributes:
        width: D, of the pooled feature.
    """

    width: int

    @abstractmethod
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, C) and pooled feature (N, D) for images (N, channels, H, W)."""

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take over stored weights. Raises RuntimeError or UsageError where they are another network's."""
        self.load_state_dict(dict(weights))


class Teacher(nn.Module):
    """A frozen network in evaluation mode, which no optimizer, checkpoint or `train()` reaches.

    It moves between devices with the method that owns it, and is loaded again when training is resumed. A method that
    changes it takes a `copy()`, since another method may learn from it too; one that trains it takes one that learns,
    which is a part of the method's parameters and state. Its batch statistics stay frozen even so.

    Args:
        network: the network with its weights.
        autocast: type of the mixed precision that it computes in; None for float32. A method runs outside the
            autocast of the network that is trained.
        renormalize: per channel factor and summand that turn the student's normalized pixels into the teacher's;
            None where they are the same.
        route: epoch → weights that the teacher's own training has kept of it (`training.keep_every`).
        shape: (channels, H, W) of the images; (3, 32, 32) where that is not known yet.
    """

    def __init__(
        self,
        network: TeacherNetwork,
        *,
        autocast: torch.dtype | None = None,
        renormalize: tuple[Tensor, Tensor] | None = None,
        route: Mapping[int, Path] | None = None,
        shape: tuple[int, int, int] = (3, 32, 32),
    ) -> None:
        super().__init__()
        # In a tuple, where a module's parameters and state are not looked for.
        self._held = (network.requires_grad_(False).eval(),)
        self.learns = False
        self.autocast, self.shape = autocast, shape
        self.route = dict(sorted((route or {}).items()))
        factor, summand = renormalize or (None, None)
        self.register_buffer("_factor", factor, persistent=False)
        self.register_buffer("_summand", summand, persistent=False)
        self._factor: Tensor | None
        self._summand: Tensor | None

    @property
    def network(self) -> TeacherNetwork:
        """The network that teaches."""
        return self._held[0]

    @property
    def width(self) -> int:
        """D, width of the pooled feature."""
        return self.network.width

    def copy(self, learns: bool = False) -> Teacher:
        """A teacher of its own, with trainable weights if it learns."""
        copied = deepcopy(self)
        copied.learns = learns
        if learns:
            copied.learner = copied.network.requires_grad_(True)
        return copied

    def forward(self, images: Tensor) -> TeacherOutputs:
        """Outputs for images (N, channels, H, W), normalized for the student; with gradients only if it learns."""
        with torch.set_grad_enabled(self.learns and torch.is_grad_enabled()), self.autocast_for(images):
            logits, pooled = self.network(self.renormalize_images(images))
        return TeacherOutputs(logits.float(), pooled.float())

    def renormalize_images(self, images: Tensor) -> Tensor:
        """The student's images, normalized as in the teacher's training."""
        if self._factor is None or self._summand is None:
            return images
        return torch.addcmul(self._summand, images, self._factor)

    def autocast_for(self, images: Tensor) -> torch.autocast:
        """Context of the teacher's precision on the device of `images`.

        Weights that were rounded before an update must not be used after it, so rounded weights are not kept.
        """
        return torch.autocast(images.device.type, self.autocast, enabled=self.autocast is not None, cache_enabled=False)

    def load_epoch(self, epoch: int) -> None:
        """Become what it was after one of the epochs of `route`. Raises RunError where those weights do not fit."""
        path = self.route[epoch]
        try:
            self.network.load(read_tensors(path))
        except (RuntimeError, UsageError) as error:
            raise RunError(f"{path}: not weights of the teacher's network: {' '.join(str(error).split())}") from error

    def train(self, mode: bool = True) -> Teacher:
        """Like any module, but for the network, which stays in evaluation mode."""
        super().train(mode)
        self.network.eval()
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if not self.learns:
            self.network._apply(fn)  # type: ignore[no-untyped-call]
        return self


def first_student_exit(which: Exits, exits: int) -> int:
    """How many of the K exits, from the first on, do not learn from the teacher."""
    return 0 if which == "all" else exits - 1
