"""The network compiled for training by torch.compile. Weights, checkpoints and evaluation know nothing of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgemate.errors import TrainingError
from edgemate.models import ExitOutputs, MultiExitModel
from edgemate.models.multi_exit import AtCut


class CompiledOutputs:
    """`model.outputs`, compiled for images of the first batch's shape.

    Batches of another shape, such as an epoch's last, go through the network as it is: to compile it again for them
    would take longer than they do.

    Args:
        model: its modules are used, not copied.
        cuda_graphs: replay forward and backward as CUDA graphs, which spares the launch of every kernel.
    """

    def __init__(self, model: MultiExitModel, cuda_graphs: bool = False) -> None:
        self._model = model
        self._cuda_graphs = cuda_graphs
        self._compiled: Any = torch.compile(
            model.outputs, dynamic=False, mode="reduce-overhead" if cuda_graphs else "default"
        )
        self._shape: torch.Size | None = None

    def __call__(self, images: Tensor, at_cut: AtCut) -> ExitOutputs:
        """Outputs of all exits for `images` (N, C, H, W).

        Raises:
            TrainingError: the network cannot be compiled here.
        """
        if self._shape is None:
            self._shape = images.shape
        if images.shape != self._shape:
            return self._model.outputs(images, at_cut)
        if self._cuda_graphs:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        try:
            outputs: ExitOutputs = self._compiled(images, at_cut)
        except torch._dynamo.exc.TorchDynamoException as error:
            inner = getattr(error, "inner_exception", error)
            reason = f"{type(inner).__name__}: {str(inner).strip()}".splitlines()[0]
            raise TrainingError(
                f"training.compile: the network cannot be compiled here ({reason}); set it to false"
            ) from error
        return outputs
