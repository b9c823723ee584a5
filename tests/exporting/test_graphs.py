from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from runs import reference_logits
from two_tensors import two_tensor_model

from edgemate.config import Exits, Model
from edgemate.errors import ExportError
from edgemate.evaluation import trained_model
from edgemate.exporting import Exported, Limits
from edgemate.exporting.graphs import OPSET, export_graphs
from edgemate.exporting.verify import check_graph, verify_layout
from edgemate.models import MultiExitModel, build_model
from edgemate.runs import Run


def test_segments_hand_on_their_features_by_name(exported: Exported) -> None:
    segments = exported.bundle.manifest.graphs["segments"]
    assert [[tensor.name for tensor in graph.inputs] for graph in segments] == [
        ["image"],
        ["features_1"],
        ["features_2"],
    ]
    assert [[tensor.name for tensor in graph.outputs] for graph in segments] == [
        ["features_1", "logits_1"],
        ["features_2", "logits_2"],
        ["logits_3"],
    ]
    assert segments[1].inputs[0].shape == ("batch", 8, 8, 8)


def test_a_prefix_goes_from_the_image_to_one_exit(exported: Exported) -> None:
    for exit, graph in enumerate(exported.bundle.manifest.graphs["prefixes"], 1):
        assert [tensor.name for tensor in graph.inputs] == ["image"]
        assert [tensor.name for tensor in graph.outputs] == [f"logits_{exit}"]


def test_graphs_say_nothing_of_the_machine_they_come_from(exported: Exported) -> None:
    for path in (exported.bundle.path / "onnx").iterdir():
        content = path.read_bytes()
        assert b"stack_trace" not in content
        assert b".py" not in content
        assert {entry.version for entry in onnx.load(path).opset_import if not entry.domain} == {OPSET}


def test_graphs_are_in_the_lowest_format_that_their_operators_allow(exported: Exported) -> None:
    for path in (exported.bundle.path / "onnx").iterdir():
        assert onnx.load(path).ir_version == 8, "which ONNX Runtime 1.14 reads"


def test_exporting_leaves_the_network_as_it_was(finished_run: Run) -> None:
    model = trained_model(finished_run)
    images = finished_run.read_golden().images
    before = reference_logits(model, images)
    model.train()
    next(iter(export_graphs(model, images.shape[1:], "segments")))
    np.testing.assert_array_equal(reference_logits(model.eval(), images), before)


def test_a_cut_may_pass_several_tensors(tmp_path: Path) -> None:
    model = two_tensor_model()
    images = np.random.default_rng(0).standard_normal((5, 1, 8, 8)).astype(np.float32)
    graphs = []
    for graph in export_graphs(model, (1, 8, 8), "segments"):
        path = tmp_path / graph.metadata.file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(graph.proto.SerializeToString())
        check_graph(path, graph.metadata)
        graphs.append(graph.metadata)
    assert [tensor.name for tensor in graphs[0].outputs] == ["fine_1", "features_1", "logits_1"]
    assert [tensor.name for tensor in graphs[1].inputs] == ["fine_1", "features_1"]
    assert [tensor.name for tensor in graphs[2].inputs] == ["fine_2", "features_2"]
    assert [tensor.name for tensor in graphs[2].outputs] == ["logits_3"]
    found = verify_layout(tmp_path, "segments", graphs, images, reference_logits(model, images), Limits(1e-5, 1.0))
    assert [agreement.exit for agreement in found] == [1, 2, 3]


class FiveDimensions(torch.nn.Module):
    """Attention within windows, as Hiera has it."""

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        x = features["image"].unsqueeze(1)
        found = torch.nn.functional.scaled_dot_product_attention(x, x, x)[:, 0]
        return {"fine": found, "features": found}


def model_with(block: torch.nn.Module) -> MultiExitModel:
    model: MultiExitModel = two_tensor_model()
    model.stages[0].blocks[0] = block
    model.heads[0] = torch.nn.Module()
    model.heads[0].forward = lambda features: (features["features"].mean((2, 3)), None)  # type: ignore[method-assign]
    return model


def test_attention_with_a_mask_is_exported() -> None:
    arguments = {"depth": 2, "embed_dim": 24, "num_heads": 3}
    network = Model(backbone="timm/beit_base_patch16_224", options={"arguments": arguments})
    model = build_model(network, Exits(at="auto", count=2), 3, 5, (32, 32))
    assert len(list(export_graphs(model, (3, 32, 32), "segments"))) == 2


def test_what_the_converter_lacks_is_said_without_its_page_of_advice() -> None:
    with pytest.raises(ExportError) as info:
        next(iter(export_graphs(model_with(FiveDimensions()), (1, 8, 8), "prefixes")))
    assert str(info.value).endswith("of the network: only 4D query, key, and value are supported")


def test_what_torch_cannot_export_is_named() -> None:
    class Fickle(torch.nn.Module):
        def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            image = features["image"]
            return {"fine": image, "features": image if image.sum() > 0 else -image}

    model: MultiExitModel = two_tensor_model()
    model.stages[0].blocks[0] = Fickle()
    model.heads[0] = torch.nn.Module()
    model.heads[0].forward = lambda features: (features["features"].mean((2, 3)), None)  # type: ignore[method-assign]
    with pytest.raises(ExportError, match=r"onnx/prefix_1\.onnx: torch cannot export this part of the network") as info:
        next(iter(export_graphs(model, (1, 8, 8), "prefixes")))
    assert "\n" not in str(info.value)
