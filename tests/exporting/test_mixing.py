"""What is deployed answers as the network does when exits answer for those before them too, in every layout."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from exit_outputs import SETTING
from runs import reference_logits

from edgemate.distillation.methods.boosted import Boosted
from edgemate.evaluation import trained_model
from edgemate.exporting import Exported, ExportOptions, export_run
from edgemate.models import count_costs, mean_mixing, softmax_mixing
from edgemate.policies import Confidence, FixedExit
from edgemate.policies.scores import max_probability
from edgemate.runs import Run, read_tensors, write_tensors
from edgemate.runtime import AnytimeClassifier
from edgemate.runtime.backends.tensorrt.builder import build_engine
from edgemate.runtime.backends.tensorrt.compat import is_installed, load_tensorrt
from edgemate.runtime.backends.tensorrt.options import BatchRange, BuildOptions

MIXINGS = {
    "mean": mean_mixing(3),
    "learned": softmax_mixing(torch.tensor([[0.5, 0.0, 0.0], [0.3, 0.9, 0.0], [-0.2, 0.4, 1.1]])),
    "boosted": Boosted(SETTING).mixing(),
}


def mixing_run(run: Run, weights: torch.Tensor, path: Path) -> Run:
    """A copy of the run whose network answers with `weights`."""
    mixed = Run(Path(shutil.copytree(run.path, path)))
    write_tensors(mixed.model_path, {**read_tensors(run.model_path), "mixing": weights})
    model = trained_model(mixed)
    for split in ("calibration", "test"):
        logits, labels = run.read_logits(split)
        with torch.no_grad():
            mixed.write_logits(split, model.ensemble_logits(torch.from_numpy(logits)).numpy(), labels)
    return mixed


@pytest.fixture(scope="module", params=list(MIXINGS))
def mixed(
    request: pytest.FixtureRequest, finished_run: Run, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, Exported]:
    folder = tmp_path_factory.mktemp(request.param)
    run = mixing_run(finished_run, MIXINGS[request.param], folder / "run")
    options = ExportOptions(layouts=("segments", "prefixes", "conditional"))
    return run, export_run(run, folder / "bundle", options=options)


@pytest.fixture(scope="module")
def images(finished_run: Run) -> np.ndarray:
    return finished_run.read_golden().images


def logits_of(predictions: Sequence[Any]) -> np.ndarray:
    return np.stack([prediction.logits for prediction in predictions])


@pytest.mark.parametrize("layout", ["segments", "prefixes", "conditional"])
def test_every_layout_answers_as_the_network_does(mixed: tuple[Run, Exported], images: np.ndarray, layout: Any) -> None:
    run, exported = mixed
    reference = reference_logits(trained_model(run), images)
    with AnytimeClassifier.load(exported.bundle.path, threads=1, layout=layout) as classifier:
        for exit in (1, 2, 3):
            answers = classifier.classify(images, FixedExit(exit))
            np.testing.assert_allclose(logits_of(answers), reference[:, exit - 1], atol=1e-4)
            assert {answer.exit for answer in answers} == {exit}


def test_a_batch_whose_images_leave_in_between_answers_as_one_by_one(
    mixed: tuple[Run, Exported], images: np.ndarray
) -> None:
    run, exported = mixed
    reference = reference_logits(trained_model(run), images)
    # Some leave at every exit: what is passed on must be compacted with the features.
    thresholds = [float(np.quantile(max_probability(reference[:, k]), 0.6)) + 1e-5 for k in (0, 1)]
    with AnytimeClassifier.load(exported.bundle.path, threads=1) as classifier:
        together = classifier.classify(images, Confidence(thresholds))
        alone = [classifier.classify(image[None], Confidence(thresholds))[0] for image in images]
    exits = [answer.exit for answer in together]
    assert set(exits) == {1, 2, 3}
    assert exits == [answer.exit for answer in alone]
    wanted = reference[np.arange(len(images)), np.array(exits) - 1]
    np.testing.assert_allclose(logits_of(together), wanted, atol=1e-4)
    np.testing.assert_allclose(logits_of(alone), wanted, atol=1e-4)


def test_segments_pass_on_the_raw_logits_of_earlier_exits(mixed: tuple[Run, Exported]) -> None:
    graphs = mixed[1].bundle.manifest.graphs["segments"]
    assert [[tensor.name for tensor in graph.inputs] for graph in graphs] == [
        ["image"],
        ["features_1", "raw_logits_1"],
        ["features_2", "raw_logits_2"],
    ]
    assert [[tensor.name for tensor in graph.outputs] for graph in graphs] == [
        ["features_1", "raw_logits_1", "logits_1"],
        ["features_2", "raw_logits_2", "logits_2"],
        ["logits_3"],
    ]
    assert [graph.outputs[1].shape for graph in graphs[:2]] == [("batch", 1, 10), ("batch", 2, 10)]


def test_the_bundle_states_costs_with_mixing_and_golden_answers(mixed: tuple[Run, Exported]) -> None:
    run, exported = mixed
    model = trained_model(run)
    costs = count_costs(model, run.read_golden().images.shape[1:]).exits
    assert [metadata.chained_macs for metadata in exported.bundle.manifest.exits] == [
        cost.chained_macs for cost in costs
    ]
    golden = exported.bundle.golden()
    np.testing.assert_allclose(golden.logits, reference_logits(model, golden.images), atol=1e-5)


@pytest.mark.parametrize(
    "precision",
    [pytest.param("fp16", marks=pytest.mark.slow), pytest.param("int8", marks=pytest.mark.slow), "int8+fp16"],
)
def test_lower_precisions_leave_the_sum_in_float32(finished_run: Run, tmp_path: Path, precision: Any) -> None:
    run = mixing_run(finished_run, MIXINGS["boosted"], tmp_path / "run")
    options = ExportOptions(layouts=("segments", "conditional"), precision=precision)
    exported = export_run(run, tmp_path / "bundle", options=options)
    assert set(exported.agreement) == {"segments", "conditional"}
    metadata = exported.bundle.manifest.precision
    assert metadata is not None
    if "fp16" in precision:
        assert sum("(ReduceSum)" in name for name in metadata.kept_fp32) == 3
    proto = onnx.load(exported.bundle.file("onnx/segment_2.onnx"))
    quantized = [node for node in proto.graph.node if node.op_type == "QuantizeLinear"]
    products = [node for node in proto.graph.node if node.op_type in ("Conv", "Gemm")]
    # Only what goes into a product is rounded to 256 steps: its input, and nothing of the mixture.
    assert len(quantized) <= (len(products) if "int8" in precision else 0)


@pytest.mark.tensorrt
@pytest.mark.skipif(not is_installed("tensorrt_rtx"), reason="tensorrt_rtx is not installed")
def test_tensorrt_rtx_builds_what_takes_and_gives_it(mixed: tuple[Run, Exported]) -> None:
    bundle = mixed[1].bundle
    options = BuildOptions(batch=BatchRange(1, 2, 8), compute_capabilities=("8.6",))
    library = load_tensorrt("tensorrt_rtx")
    for layout in ("segments", "prefixes"):
        assert build_engine(library, bundle.file(bundle.manifest.graphs[layout][1].file), options)
