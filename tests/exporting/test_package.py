from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ready_graphs import EXPORTER, graphs_of
from runs import reference_logits
from told import Told

from edgemate.bundle import Bundle, PrecisionMetadata
from edgemate.calibration import read_operating_points, simulate
from edgemate.core.scoring import exit_accuracy
from edgemate.errors import BundleError, ExportError, UsageError
from edgemate.evaluation import trained_model
from edgemate.exporting import Exported, ExportOptions, Limits, export_run
from edgemate.exporting.exported_graph import ExportedGraph
from edgemate.exporting.uint8_input import FRAME_DIFFERENCE
from edgemate.policies import FixedExit
from edgemate.runs import Run
from edgemate.runtime import AnytimeClassifier
from edgemate.runtime.proof import default_tolerance


@pytest.fixture
def ready_graphs(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stand in for torch's exporter with graphs that are there already; `spoil` is done to every one."""
    hooks: dict[str, Any] = {"spoil": lambda graph: None}

    monkeypatch.setattr(EXPORTER, graphs_of(exported.bundle, lambda graph: hooks["spoil"](graph)))
    return hooks


def test_the_classifier_answers_as_the_network_does(exported: Exported, finished_run: Run) -> None:
    images = finished_run.read_golden().images
    reference = reference_logits(trained_model(finished_run), images)
    with AnytimeClassifier.load(exported.bundle.path, threads=1) as classifier:
        for exit in (1, 2, 3):
            answers = classifier.classify(images, FixedExit(exit))
            np.testing.assert_allclose([a.logits for a in answers], reference[:, exit - 1], atol=1e-4)
            assert [a.index for a in answers] == reference[:, exit - 1].argmax(1).tolist()


def test_the_manifest_describes_the_run(exported: Exported, finished_run: Run) -> None:
    manifest = Bundle.open(exported.bundle.path).manifest
    assert manifest.name == finished_run.name
    assert manifest.classes == finished_run.read_metadata().classes
    assert manifest.source == {
        "run": "tiny",
        "data": "digits",
        "backbone": "resnet8",
        "head": "linear",
        "method": "joint_ce",
    }
    assert manifest.data_options == {"test_fraction": 0.25, "test_seed": 0}
    assert {"edgemate", "torch", "onnx", "python"} <= manifest.tools.keys()
    assert [metadata.name for metadata in manifest.exits] == ["stage1", "stage2", "stage3"]
    for split in ("calibration", "test"):
        accuracy = exit_accuracy(*finished_run.read_logits(split))
        assert [metadata.accuracy[split] for metadata in manifest.exits] == pytest.approx(accuracy.tolist())
    chained = [metadata.chained_macs for metadata in manifest.exits]
    assert chained == sorted(chained)
    assert all(metadata.chained_macs >= metadata.macs for metadata in manifest.exits)
    # A pixel of the image stays what training made of it.
    assert manifest.input.mean == tuple(finished_run.read_metadata().input["mean"])


def test_operating_points_are_those_of_the_calibration_split(exported: Exported, finished_run: Run) -> None:
    points = read_operating_points(exported.bundle)
    assert points.names() == ["fast", "balanced", "accurate", "full"]
    logits, labels = finished_run.read_logits("calibration")
    costs = [metadata.chained_macs for metadata in exported.bundle.manifest.exits]
    for point in points.points:
        found = simulate(logits, labels, costs, point.as_policy())
        assert point.expected.accuracy == pytest.approx(found.accuracy)
        assert point.expected.mean_macs == pytest.approx(found.mean_cost)


def test_golden_samples_are_real_images_with_the_networks_answers(exported: Exported, finished_run: Run) -> None:
    golden, stored = exported.bundle.golden(), finished_run.read_golden()
    assert len(golden.labels) == 16
    assert set(golden.labels) == set(stored.labels)
    assert all((golden.images[i] == stored.images).all((1, 2, 3)).any() for i in range(16))
    np.testing.assert_allclose(golden.logits, reference_logits(trained_model(finished_run), golden.images), atol=1e-5)


def test_a_failed_check_leaves_no_bundle(finished_run: Run, ready_graphs: dict[str, Any], tmp_path: Path) -> None:
    def spoil(graph: ExportedGraph) -> None:
        if graph.metadata.file == "onnx/segment_2.onnx":
            gemm = next(node for node in graph.proto.graph.node if node.op_type == "Gemm")
            next(attribute for attribute in gemm.attribute if attribute.name == "alpha").f = 1.5

    ready_graphs["spoil"] = spoil
    with pytest.raises(ExportError, match="segments, exit 2: the largest difference"):
        export_run(finished_run, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_is_replaced_on_overwrite(finished_run: Run, ready_graphs: dict[str, Any], tmp_path: Path) -> None:
    prefixes = ExportOptions(layouts=("prefixes",), samples=5)
    first = export_run(finished_run, tmp_path / "bundle", options=prefixes).bundle
    assert set(first.manifest.graphs) == {"prefixes"}
    assert len(first.golden().labels) == 5
    with pytest.raises(BundleError, match="already holds a bundle; `overwrite` replaces it"):
        export_run(finished_run, tmp_path / "bundle", options=prefixes)
    told = Told()
    replaced = export_run(finished_run, tmp_path / "bundle", options=ExportOptions(overwrite=True, progress=told))
    assert set(Bundle.open(replaced.bundle.path).manifest.graphs) == {"segments", "prefixes"}
    assert "segments: exit 2 of 3" in told


def test_a_failed_check_keeps_the_bundle_that_was_there(
    finished_run: Run, ready_graphs: dict[str, Any], tmp_path: Path
) -> None:
    export_run(finished_run, tmp_path / "bundle", options=ExportOptions(layouts=("prefixes",)))
    ready_graphs["spoil"] = lambda graph: graph.proto.graph.node.pop()
    with pytest.raises(ExportError):
        export_run(finished_run, tmp_path / "bundle", options=ExportOptions(overwrite=True))
    assert set(Bundle.open(tmp_path / "bundle").manifest.graphs) == {"prefixes"}
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_unknown_targets_name_the_known_ones(finished_run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown export target 'onxx'; did you mean 'onnx'"):
        export_run(finished_run, tmp_path / "bundle", target="onxx")


@pytest.mark.parametrize("precision", ["fp16", "int8", "int8+fp16"])
def test_a_precision_is_set_and_proved_on_calibration_images(
    finished_run: Run, ready_graphs: dict[str, Any], tmp_path: Path, precision: Any
) -> None:
    options = ExportOptions(layouts=("segments", "conditional"), precision=precision)
    found = export_run(finished_run, tmp_path / "bundle", options=options)
    metadata = Bundle.open(tmp_path / "bundle").manifest.precision
    assert metadata is not None
    assert metadata.name == precision
    assert len(metadata.calibration_samples) == finished_run.read_metadata().images["calibration"] // 2
    assert metadata.tolerance == Limits.of(precision).difference
    for agreement in found.agreement["segments"]:
        assert agreement.images == finished_run.read_metadata().images["calibration"] - len(
            metadata.calibration_samples
        )
        assert agreement.accuracy_change is not None
        assert agreement.largest_difference > 1e-5
    with AnytimeClassifier.load(tmp_path / "bundle", threads=1) as classifier:
        golden = classifier.bundle.golden()
        classes = [answer.index for answer in classifier.classify(golden.images)]
    assert np.mean(classes == golden.logits[:, 2].argmax(1)) > 0.9


def test_a_precision_past_its_limit_is_refused(finished_run: Run, ready_graphs: dict[str, Any], tmp_path: Path) -> None:
    options = ExportOptions(layouts=("prefixes",), precision="int8", tolerance=1e-4)
    with pytest.raises(ExportError, match=r"prefixes, exit \d: .* from the network .* \(tolerance 0.0001\)"):
        export_run(finished_run, tmp_path / "bundle", options=options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "tolerance", "engines"),
    [
        ({}, None, 0.01),
        ({"tolerance": 0.05}, 0.05, 0.1),
        ({"input": "uint8", "frame": (8, 8)}, FRAME_DIFFERENCE, 0.02),
        ({"input": "uint8", "frame": (8, 8), "tolerance": 0.05}, 0.05, 0.1),
    ],
)
def test_what_float32_graphs_were_allowed_is_recorded_and_engines_are_allowed_twice_that(
    finished_run: Run,
    ready_graphs: dict[str, Any],
    tmp_path: Path,
    options: dict[str, Any],
    tolerance: float | None,
    engines: float,
) -> None:
    export_run(finished_run, tmp_path / "bundle", options=ExportOptions(layouts=("segments",), **options))
    bundle = Bundle.open(tmp_path / "bundle")
    expected = None if tolerance is None else PrecisionMetadata(name="fp32", tolerance=tolerance)
    assert bundle.manifest.precision == expected
    assert default_tolerance(bundle) == engines


def test_the_conditional_graph_can_stand_alone(finished_run: Run, ready_graphs: dict[str, Any], tmp_path: Path) -> None:
    options = ExportOptions(layouts=("conditional",), engine_batch=(1, 1, 1))
    found = export_run(finished_run, tmp_path / "bundle", options=options)
    manifest = Bundle.open(tmp_path / "bundle").manifest
    assert [path.name for path in (tmp_path / "bundle" / "onnx").iterdir()] == ["conditional.onnx"]
    assert list(manifest.graphs) == ["conditional"]
    assert (manifest.precision, manifest.engine_batch) == (None, (1, 1, 1))
    assert [agreement.exit for agreement in found.agreement["conditional"]] == [1, 2, 3]
    assert all(agreement.largest_difference < 1e-4 for agreement in found.agreement["conditional"])
