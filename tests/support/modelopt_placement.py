"""Where NVIDIA ModelOpt puts Q/DQ pairs, as recorded for networks of ours, and how to record it again.

    python tests/support/modelopt_placement.py

records it, in an environment that has `nvidia-modelopt[onnx]` besides edgemate.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto

from edgemate.config import Exits, Model
from edgemate.exporting.composing import prefix_of
from edgemate.exporting.graphs import export_graphs
from edgemate.models import build_model

RECORDED = Path(__file__).parents[1] / "exporting" / "modelopt"

# Name of the record → backbone, its options, the side of the images. ModelOpt leaves convolutions of fewer than 16
# channels float, and linear layers of fewer than 16 classes.
NETWORKS: dict[str, tuple[str, dict[str, Any], int]] = {
    "resnet8": ("resnet8", {"width": 16}, 16),
    "resnet18": ("resnet18", {"stem": "imagenet"}, 64),
    "mobilenet_v2": ("torchvision/mobilenet_v2", {}, 64),
}

# Operator → for each such node, in the graph's order, the positions of the activations that it reads through a pair.
Placement = dict[str, list[list[int]]]


def network(name: str) -> ModelProto:
    """The last prefix of a network, in float32, with random weights."""
    backbone, options, side = NETWORKS[name]
    torch.manual_seed(0)
    model = build_model(Model(backbone=backbone, options=options), Exits(), 3, 10)
    made = list(export_graphs(model, (3, side, side), "segments"))
    return prefix_of([graph.proto for graph in made], [graph.metadata for graph in made]).proto


def described(proto: ModelProto, inputs: dict[str, list[int]]) -> Placement:
    """The placement of a float graph: name of a node → positions, by operator."""
    found: Placement = {}
    for node in proto.graph.node:
        found.setdefault(node.op_type, []).append(inputs.get(node.name, []))
    return {operator: positions for operator, positions in sorted(found.items()) if any(positions)}


def recorded(name: str) -> Placement:
    """What ModelOpt did."""
    content: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
    placement: Placement = content["placement"]
    return placement


def of_modelopt(proto: ModelProto) -> Placement:
    """What the installed ModelOpt does with a float graph."""
    from modelopt.onnx.quantization import quantize

    [image] = proto.graph.input
    shape = [size.dim_value for size in image.type.tensor_type.shape.dim[1:]]
    images = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        source, target = str(Path(folder) / "float.onnx"), str(Path(folder) / "int8.onnx")
        onnx.save(proto, source)
        quantize(
            source,
            quantize_mode="int8",
            calibration_method="max",
            calibration_data={image.name: images},
            calibration_eps=["cpu"],
            output_path=target,
            high_precision_dtype="fp32",
            log_level="WARNING",
        )
        quantized = onnx.load(target)
    constants = {tensor.name for tensor in quantized.graph.initializer}
    makers = {name: node for node in quantized.graph.node for name in node.output}
    inputs: dict[str, list[int]] = {}
    for node in quantized.graph.node:
        for position, name in enumerate(node.input):
            pair = makers.get(name)
            if pair is None or pair.op_type != "DequantizeLinear":
                continue
            quantizer = makers.get(pair.input[0])
            is_constant = quantizer is None or quantizer.input[0] in constants or quantizer.input[0] not in makers
            if not is_constant or (quantizer is not None and quantizer.input[0] == image.name):
                inputs.setdefault(node.name, []).append(position)
    return described(proto, inputs)


def _record() -> None:
    from importlib.metadata import version

    RECORDED.mkdir(exist_ok=True)
    for name, (backbone, options, side) in NETWORKS.items():
        content = {
            "network": {"backbone": backbone, "options": options, "side": side},
            "nvidia-modelopt": version("nvidia-modelopt"),
            "placement": of_modelopt(network(name)),
        }
        (RECORDED / f"{name}.json").write_text(json.dumps(content) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _record()
