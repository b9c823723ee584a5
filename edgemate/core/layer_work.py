"""What one layer of a network computes, reads and writes for one image, in values; bytes follow from the precision."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
VALUE_BYTES: dict[Precision, int] = {"fp32": 4, "fp16": 2, "int8": 1}
"""Bytes of one activation, and of one weight of a convolution or matrix product."""


@dataclass(frozen=True)
class LayerWork:
    """One layer, for one image.

    Attributes:
        path: of the layer in the network; `heads.K.…` counts from 0, as in the weights file.
        type: class of the module, or name of the operator where no module stands for it alone.
        exit: k, 1-based, of the segment that the layer belongs to.
        part: whether it belongs to the backbone's stage, to the exit's head, or to the mixing of exits.
        output_shape: shape of its output without the batch.
        macs: MACs.
        parameters: parameters as in PyTorch. Those that two layers share belong to the first.
        weights: values of its kernels or matrices as exported.
        other_values: its other constants as exported: biases, and normalization that no convolution absorbs.
        scales: scales that INT8 needs for its weights, one per output channel.
        input_values: values of its activations that it reads. A kernel smaller than its stride reads only a part.
        reread_values: of these, values that an earlier layer of the same segment has read too.
        output_values: values that it writes.
        stays_float: INT8 leaves it in float32, as the last linear layer before the logits.
    """

    path: str
    type: str
    exit: int
    part: Literal["stage", "head", "mixing"]
    output_shape: tuple[int, ...]
    macs: int
    parameters: int
    weights: int = 0
    other_values: int = 0
    scales: int = 0
    input_values: int = 0
    reread_values: int = 0
    output_values: int = 0
    stays_float: bool = False

    def weight_bytes(self, precision: Precision) -> int:
        """Bytes of its constants as exported. INT8 keeps biases in float32 and adds float32 scales."""
        if precision == "int8" and self.stays_float:
            return VALUE_BYTES["fp32"] * (self.weights + self.other_values)
        if precision == "int8":
            return self.weights + 4 * (self.other_values + self.scales)
        return VALUE_BYTES[precision] * (self.weights + self.other_values)

    def activation_bytes(self, precision: Precision = "fp32") -> int:
        """Bytes of activations that it reads and writes."""
        return VALUE_BYTES[precision] * (self.input_values + self.output_values)


def weight_bytes(layers: Iterable[LayerWork]) -> dict[str, int]:
    """Bytes of the constants of some layers in each precision."""
    listed = list(layers)
    return {precision: sum(layer.weight_bytes(precision) for layer in listed) for precision in PRECISIONS}
