"""The layers of a network, one by one, against other ways to count them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from onnx import ModelProto, numpy_helper
from torch import nn

from edgemate.config import Exits, Model
from edgemate.core.layer_work import weight_bytes
from edgemate.exporting.fp16 import to_float16
from edgemate.exporting.graphs import export_graphs
from edgemate.exporting.int8 import to_int8
from edgemate.models import Backbone, MultiExitModel, Prefix, Tap, build_model, count_costs, mean_mixing
from edgemate.models.activations import peak_activation_bytes
from edgemate.models.heads.linear import linear
from edgemate.models.layers import CountedLayers, count_layers
from edgemate.models.operator_kinds import UNKNOWN, uncounted_operators

# Plain, dense and multi-scale connections, tokens, squeeze-and-excitation, normalization before convolutions.
NETWORKS = {
    "resnet8": 8,
    "wrn_16_4": 32,
    "msdnet_cifar_anytime": 32,
    "timm/mobilenetv3_small_100": 64,
    "torchvision/shufflenet_v2_x1_0": 64,
    "timm/vit_tiny_patch16_224": 64,
    "timm/densenet121": 64,
    "timm/levit_128s": 224,
}
FAST = {"resnet8", "timm/mobilenetv3_small_100", "timm/vit_tiny_patch16_224"}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, while exporting
        yield


def built(name: str, head: str = "linear") -> MultiExitModel:
    """A network whose weights and statistics are all different, so that an export cannot share them."""
    torch.manual_seed(0)
    side = NETWORKS[name]
    model = build_model(Model(backbone=name), Exits(head=head), 3, 10, (side, side)).eval()
    for path, tensor in model.state_dict().items():
        if path.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif tensor.is_floating_point():
            tensor.uniform_(-0.1, 0.1)
    return model


def counted(model: MultiExitModel, name: str) -> CountedLayers:
    return count_layers(model, (3, NETWORKS[name], NETWORKS[name]))


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in NETWORKS])
@pytest.mark.parametrize("mixed", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_layers_add_up_to_the_costs_of_every_exit(name: str, mixed: bool) -> None:
    model = built(name)
    if mixed:
        model.set_mixing(mean_mixing(model.exits))
    layers = counted(model, name)
    for cost in count_costs(model, (3, NETWORKS[name], NETWORKS[name])).exits:
        prefix = layers.prefix(cost.exit)
        chained = [layer for exit in range(1, cost.exit + 1) for layer in layers.segment(exit)]
        assert sum(layer.macs for layer in prefix) == cost.macs
        assert sum(layer.macs for layer in chained) == cost.chained_macs
        assert sum(layer.parameters for layer in chained) == cost.chained_parameters
        # A prefix of a multi-scale network does not run all of its modules.
        run = sum(layer.parameters for layer in prefix)
        assert run <= cost.parameters if name.startswith("msdnet") else run == cost.parameters


@pytest.mark.parametrize("name", ["resnet8", "timm/mobilenetv3_small_100"])
def test_the_peaks_are_those_of_the_prefixes_alone(name: str) -> None:
    model = built(name)
    image = torch.zeros(1, 3, NETWORKS[name], NETWORKS[name])
    layers = counted(model, name)
    alone = [peak_activation_bytes(Prefix(model, exit), image) for exit in range(1, model.exits + 1)]
    assert list(layers.prefix_peaks) == alone
    assert layers.segment_peaks[0] == alone[0]  # its logits and features are smaller than its largest map


@pytest.mark.parametrize(
    "name",
    [
        "resnet8",
        pytest.param("wrn_16_4", marks=pytest.mark.slow),
        pytest.param("timm/mobilenetv3_small_100", marks=pytest.mark.slow),
    ],
)
def test_the_weight_bytes_are_those_of_the_exported_graphs(name: str) -> None:
    """Up to what reshaping needs, and a scale per quantized activation."""
    model, side = built(name, "conv" if name == "resnet8" else "linear"), NETWORKS[name]
    layers = counted(model, name)
    for exit, graph in enumerate(export_graphs(model, (3, side, side), "segments"), 1):
        expected = weight_bytes(layers.segment(exit))
        shapes = {one.name: tuple(one.shape[1:]) for one in graph.metadata.inputs}
        feeds = {key: np.random.default_rng(0).random((2, *shape), dtype=np.float32) for key, shape in shapes.items()}
        assert expected["fp32"] == pytest.approx(_constants(graph.proto), abs=400)
        assert expected["fp16"] == pytest.approx(_constants(to_float16(graph.proto, ())), abs=400)
        assert expected["int8"] == pytest.approx(_constants(to_int8(graph.proto, feeds)), rel=0.05)


def _constants(proto: ModelProto) -> int:
    return sum(numpy_helper.to_array(constant).nbytes for constant in proto.graph.initializer)


def test_a_layer_has_the_path_that_its_library_gave_it() -> None:
    layers = counted(built("timm/mobilenetv3_small_100"), "timm/mobilenetv3_small_100")
    first, last = layers.layers[0], layers.layers[-1]
    assert (first.path, first.type, first.exit, first.part) == ("conv_stem", "Conv2d", 1, "stage")
    assert (last.path, last.type, last.exit, last.part) == ("classifier", "Linear", 4, "head")
    assert {"blocks.1.0.conv_dw", "heads.0.classifier"} <= {layer.path for layer in layers.layers}


class _Parts(nn.Module):
    """A 3×3 convolution with BatchNorm, then a strided 1×1 convolution and a second one that read the same map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.strided, self.again = nn.Conv2d(4, 6, 1, stride=2, bias=False), nn.Conv2d(4, 6, 3, stride=2, padding=1)

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        shared = self.norm(self.conv(features["image"])).relu()
        return {"features": torch.special.bessel_j0(self.strided(shared) + self.again(shared))}


def test_what_is_read_and_written_is_counted_by_hand() -> None:
    backbone = Backbone({"all": _Parts()}, {"all": Tap(6, 6, 0)}, None)
    layers = count_layers(MultiExitModel(backbone, ["all"], lambda tap: linear(tap, 5)), (3, 8, 8))
    conv, norm, strided, again, classifier = layers.layers
    assert (conv.weights, conv.other_values, conv.parameters) == (9 * 3 * 4, 4, 9 * 3 * 4)  # folding makes a bias
    assert (norm.macs, norm.parameters, norm.weight_bytes("fp32"), norm.activation_bytes()) == (0, 8, 0, 0)
    assert norm.type == "BatchNorm2d, folded"
    assert (conv.input_values, conv.output_values) == (3 * 8 * 8, 4 * 8 * 8)
    assert strided.input_values == 4 * 4 * 4  # every other row and column
    assert (again.input_values, again.reread_values) == (4 * 8 * 8, 4 * 8 * 8)
    assert again.activation_bytes("fp16") == 2 * (4 * 8 * 8 + 6 * 4 * 4)
    assert again.weight_bytes("int8") == 9 * 4 * 6 + 4 * (6 + 6)
    assert (classifier.macs, classifier.output_shape) == (30, (5,))
    assert classifier.weight_bytes("int8") == classifier.weight_bytes("fp32") == 4 * (6 * 5 + 5)  # it gives the logits
    kinds = {one.operator: one.kind for one in layers.uncounted}
    assert kinds["aten::special_bessel_j0"] == UNKNOWN
    assert kinds["aten::relu"] == "activation"
    assert "not known" in layers.uncounted[0].reason  # unknown ones come first


class _Einsum(nn.Module):
    """A matrix product as an equation, over all that comes before the last dimension."""

    def __init__(self, equation: str) -> None:
        super().__init__()
        self.equation, self.weight = equation, nn.Parameter(torch.ones(8, 6))

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"features": torch.einsum(self.equation, features["image"], self.weight).relu()}


@pytest.mark.parametrize("equation", ["nchd,df->nchf", "...d,df->...f", "n...d,df->n...f"])
def test_an_equation_is_counted_with_and_without_an_ellipsis(equation: str) -> None:
    backbone = Backbone({"all": _Einsum(equation)}, {"all": Tap(3, 3, 0)}, None)
    layers = count_layers(MultiExitModel(backbone, ["all"], lambda tap: linear(tap, 5)), (3, 6, 8))
    assert layers.layers[0].macs == 3 * 6 * 8 * 6


def test_every_kind_has_its_reason_and_an_unknown_operator_is_not_called_cheap() -> None:
    found = uncounted_operators({"add": 3, "never_heard_of": 1, "view": 2, "max_pool2d": 1})
    assert [one.operator for one in found] == [
        "aten::never_heard_of",
        "aten::add",
        "aten::max_pool2d",
        "aten::view",
    ]
    assert "may not be small" in found[0].reason
    assert [one.times for one in found] == [1, 3, 1, 2]


def test_counting_leaves_the_model_in_its_mode() -> None:
    model = built("resnet8").train()
    layers = counted(model, "resnet8")
    assert model.training
    assert all(math.prod(layer.output_shape) > 0 for layer in layers.layers)
