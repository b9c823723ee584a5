"""Why operators without MACs are cheap; an operator that is not listed here is of unknown cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Uncounted:
    """An operator that the MACs leave out.

    Attributes:
        operator: its name, `aten::add`.
        times: how often it runs on the way through all segments.
        kind: `UNKNOWN`, or one of the kinds below.
        reason: why it is cheap, or that its cost is not known.
    """

    operator: str
    times: int
    kind: str
    reason: str


def uncounted_operators(times: Mapping[str, int]) -> tuple[Uncounted, ...]:
    """One entry per operator, by kind and then by name, those of unknown cost first.

    Args:
        times: name of the operator without overload and in-place mark → how often it runs.
    """
    found = [
        Uncounted(f"aten::{name}", count, kind, _REASONS[kind])
        for name, count in times.items()
        for kind in (_KINDS.get(name, UNKNOWN),)
    ]
    order = list(_REASONS)
    return tuple(sorted(found, key=lambda one: (order.index(one.kind), one.operator)))


_REASONS = {
    UNKNOWN: "no formula is known here, so its cost is not known and may not be small",
    "normalization": "a few operations per value; batch normalization after a convolution is folded into its weights",
    "activation": "a few operations per value, which inference fuses into the layer before",
    "element-wise": "one operation per value, which inference fuses into the layer before",
    "pooling": "one addition or comparison per value of each window",
    "reduction": "one operation per value",
    "resizing": "a few operations per value",
    "data movement": "computes nothing: it selects, joins or reorders values",
}

_NAMES = {
    "normalization": "batch_norm group_norm layer_norm native_layer_norm instance_norm rms_norm linalg_vector_norm",
    "activation": (
        "celu elu gelu glu hardsigmoid hardswish hardtanh leaky_relu log_sigmoid log_softmax mish prelu relu relu6 "
        "selu sigmoid silu softmax softplus tanh"
    ),
    "element-wise": (
        "abs add addcmul bitwise_and bitwise_not clamp clamp_max clamp_min cos div eq exp floor floor_divide ge gt le "
        "log logical_not lt masked_fill max_other maximum minimum mul ne neg pow reciprocal round rsqrt rsub sin sqrt "
        "square sub where"
    ),
    "pooling": (
        "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool2d avg_pool1d avg_pool2d max_pool1d max_pool2d "
        "max_pool2d_with_indices"
    ),
    "reduction": "amax amin argmax max mean min norm sum var var_mean",
    "resizing": "grid_sampler upsample_bicubic2d upsample_bilinear2d upsample_nearest2d interpolate",
    "data movement": (
        "alias arange as_strided broadcast_to cat channel_shuffle chunk clone constant_pad_nd contiguous copy detach "
        "dropout empty expand expand_as feature_dropout flatten flip full full_like gather getitem identity index "
        "index_select lift_fresh_copy movedim narrow new_zeros ones ones_like pad permute pixel_shuffle "
        "pixel_unshuffle repeat reshape reshape_as roll select slice split split_with_sizes squeeze stack t "
        "to _to_copy transpose tile type_as unbind unflatten unfold unsqueeze view view_as zeros zeros_like"
    ),
}

_KINDS = {name: kind for kind, names in _NAMES.items() for name in names.split()}
