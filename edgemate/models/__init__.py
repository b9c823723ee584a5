"""Multi-exit networks: backbones cut into stages, heads, and the model made of both."""

from edgemate.models.backbone import Backbone, Features, Tap
from edgemate.models.building import build_model
from edgemate.models.cost import Costs, ExitCost, count_costs
from edgemate.models.heads.head import Head
from edgemate.models.mixing import mean_mixing, softmax_mixing
from edgemate.models.multi_exit import ExitOutputs, MultiExitModel, Prefix, Segment

__all__ = [
    "Backbone",
    "Costs",
    "ExitCost",
    "ExitOutputs",
    "Features",
    "Head",
    "MultiExitModel",
    "Prefix",
    "Segment",
    "Tap",
    "build_model",
    "count_costs",
    "mean_mixing",
    "softmax_mixing",
]
