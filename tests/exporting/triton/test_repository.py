"""A model repository of Triton answers as the classifier does."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import golden_images, small_bundle, write_small_bundle
from fake_triton import Request, loaded_model, parsed_config

from edgemate.bundle import Bundle, Graph, Tensor
from edgemate.calibration import read_operating_points
from edgemate.calibration.operating_points import ExitTemperature, OperatingPoint, write_operating_points
from edgemate.errors import BackendError, BundleError, ExportError, UsageError
from edgemate.exporting import Exported, ExportOptions, export_run
from edgemate.exporting.triton import write_repository
from edgemate.exporting.triton.configs import segment_config
from edgemate.policies import Confidence, Entropy, FixedExit, Margin, Patience, Policy
from edgemate.runs import Run
from edgemate.runtime import AnytimeClassifier

__all__ = ["small_bundle"]

pytestmark = pytest.mark.filterwarnings("ignore:Protobuf gencode version")

POLICIES: dict[str, Policy] = {
    "confidence": Confidence(0.9),
    "per_exit": Confidence((0.6, 0.95)),
    "scaled": Confidence((0.6, 0.8), temperature=(2.0, 0.5)),
    "entropy": Entropy((0.4, 0.8)),
    "margin": Margin(0.5),
    "patience": Patience(1),
    "fixed": FixedExit(2),
    "last": FixedExit(3),
}


def with_points(bundle: Bundle, policies: dict[str, Policy], temperatures: tuple[float, ...] | None) -> Bundle:
    """The bundle with these operating points only."""
    old = read_operating_points(bundle)
    expected = old.points[0].expected
    points = [OperatingPoint.of(name, policy, expected=expected) for name, policy in policies.items()]
    fitted = None
    if temperatures is not None:
        unread = {"nll_before": 1.0, "nll_after": 1.0, "ece_before": 0.0, "ece_after": 0.0}
        numbered = enumerate(temperatures, start=1)
        fitted = tuple(ExitTemperature(exit=exit, temperature=value, **unread) for exit, value in numbered)
    return write_operating_points(bundle, old.model_copy(update={"points": tuple(points), "temperatures": fitted}))


def written(bundle: Bundle, folder: Path, **changes: Any) -> Path:
    options: dict[str, Any] = {"platform": "onnxruntime", "engines": (), "max_batch": 8, "overwrite": False}
    return write_repository(bundle, folder, **{**options, **changes})


@pytest.fixture(scope="module", params=["small", "mixing"])
def network(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=[None, (2.0, 0.5, 1.5)], ids=["raw", "temperatures"])
def bundle(request: pytest.FixtureRequest, network: str, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    made = write_small_bundle(tmp_path_factory.mktemp("bundles") / network, network=network)
    return with_points(made, POLICIES, request.param)


@pytest.fixture(scope="module")
def repository(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(bundle, tmp_path_factory.mktemp("repositories") / "made")


def test_the_configurations_are_triton_s(bundle: Bundle, repository: Path) -> None:
    name = bundle.manifest.name
    names = [f"{name}_segment_{exit}" for exit in (1, 2, 3)]
    assert sorted(folder.name for folder in repository.iterdir()) == sorted([name, *names])
    for folder in repository.iterdir():
        config = parsed_config(folder / "config.pbtxt")
        assert (config.name, config.max_batch_size) == (folder.name, 8)
        assert config.HasField("dynamic_batching")
    for graph, segment in zip(bundle.manifest.graphs["segments"], names, strict=True):
        config = parsed_config(repository / segment / "config.pbtxt")
        assert config.platform == "onnxruntime_onnx"
        assert [field.name for field in config.input] == [tensor.name for tensor in graph.inputs]
        assert [field.name for field in config.output] == [tensor.name for tensor in graph.outputs]
        content = (repository / segment / "1" / "model.onnx").read_bytes()
        assert content == bundle.graph(graph).read_bytes()
    assert parsed_config(repository / name / "config.pbtxt").backend == "python"


@pytest.mark.parametrize("point", [*POLICIES, None])
def test_exits_and_logits_are_those_of_the_classifier(bundle: Bundle, repository: Path, point: str | None) -> None:
    name = bundle.manifest.name
    images = golden_images(24, seed=11)
    chosen = point or json.loads((repository / name / "1" / "plan.json").read_text())["default"]
    parameters = {} if point is None else {"policy": point}
    ends = [0, 1, 3, 8, 16, 24]
    requests = [Request(images[start:end], **parameters) for start, end in itertools.pairwise(ends)]
    with AnytimeClassifier.load(bundle, threads=1) as classifier, loaded_model(repository, name) as (model, server):
        responses = [*model.execute(requests[:3]), *model.execute(requests[3:4]), *model.execute(requests[4:])]
        for request, response in zip(requests, responses, strict=True):
            server.check(name, response)
            expected = classifier.classify(request.tensors["image"].as_numpy(), chosen)
            assert response["exit"].ravel().tolist() == [prediction.exit for prediction in expected]
            assert response["label"].ravel().tolist() == [prediction.label for prediction in expected]
            np.testing.assert_allclose(
                response["logits"], np.stack([prediction.logits for prediction in expected]), rtol=1e-5, atol=1e-5
            )
            np.testing.assert_allclose(
                response["probability"].ravel(), [prediction.probability for prediction in expected], rtol=1e-5
            )


def test_a_segment_runs_only_for_images_that_go_on(bundle: Bundle, repository: Path) -> None:
    name = bundle.manifest.name
    with loaded_model(repository, name) as (model, server):
        [first, second] = model.execute([Request(golden_images(5), policy="confidence"), Request(golden_images(2))])
        exits = np.concatenate([first["exit"], second["exit"]]).ravel()
        assert [images for _, images in server.calls] == [
            int((exits >= exit).sum()) for exit in range(1, exits.max() + 1)
        ]
        server.calls.clear()
        model.execute([Request(golden_images(8), policy="fixed")])
        assert server.calls == [(f"{name}_segment_1", 8), (f"{name}_segment_2", 8)]


def test_what_fails_is_an_error_of_its_own_request(bundle: Bundle, repository: Path) -> None:
    name = bundle.manifest.name
    images = golden_images(2)
    with loaded_model(repository, name) as (model, server):
        server.broken = f"{name}_segment_3"
        requests = [Request(images, policy="nope"), Request(images, policy="last"), Request(images, policy="fixed")]
        unknown, broken, answered = model.execute(requests)
        assert "unknown operating point 'nope'; known: confidence" in unknown.error().message()
        assert broken.error().message() == "out of memory"
        assert answered["exit"].ravel().tolist() == [2, 2]


def test_logits_that_are_no_numbers_stop_nowhere_but_at_the_last_exit(repository: Path, bundle: Bundle) -> None:
    with loaded_model(repository, bundle.manifest.name) as (model, _):
        module = type(model).run.__globals__
        logits = np.array([[np.nan, 0, 0, 9], [0, 0, 0, 9]], np.float32)
        points = json.loads((repository / bundle.manifest.name / "1" / "plan.json").read_text())["points"]
        for name in ("confidence", "entropy", "margin", "fixed"):
            agreement = module["Agreement"](2)
            assert module["stops"](points[name], 2, logits, agreement).tolist() == [False, True], name


def test_an_answer_whose_logits_are_no_numbers_is_an_error(repository: Path, bundle: Bundle) -> None:
    images = golden_images(3)
    images[1, 0, 0, 0] = np.nan
    with loaded_model(repository, bundle.manifest.name) as (model, _):
        broken, whole = model.execute([Request(images[:2], policy="last"), Request(images[2:], policy="last")])
    assert broken.error().message() == "image 2: the network's logits are not finite"
    assert not whole.has_error()


def test_the_model_needs_numpy_only(repository: Path, bundle: Bundle) -> None:
    tree = ast.parse((repository / bundle.manifest.name / "1" / "model.py").read_text())
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported == {"__future__", "json", "pathlib", "typing", "numpy", "triton_python_backend_utils"}


def test_engines_take_the_place_of_graphs(small_bundle: Bundle, tmp_path: Path) -> None:
    engines = [tmp_path / f"segment_{exit}.engine" for exit in (1, 2, 3)]
    for engine in engines:
        engine.write_bytes(engine.name.encode())
    made = written(small_bundle, tmp_path / "made", platform="tensorrt", engines=engines, max_batch=4)
    for exit, engine in enumerate(engines, start=1):
        folder = made / f"small_segment_{exit}"
        assert [path.name for path in (folder / "1").iterdir()] == ["model.plan"]
        assert (folder / "1" / "model.plan").read_bytes() == engine.name.encode()
        config = parsed_config(folder / "config.pbtxt")
        assert (config.platform, config.max_batch_size) == ("tensorrt_plan", 4)


@pytest.mark.parametrize("platform", ["tensorrt_plan", "onnxruntime_onnx"])
def test_features_that_an_engine_holds_in_another_order_are_declared(platform: str, tmp_path: Path) -> None:
    shapes = {"hwc8": ("float16", (16, 4, 4)), "chw32": ("int8", (64, 2, 2)), "odd": ("float16", (6, 4, 4))}
    shapes |= {"narrow": ("int8", (16, 2, 2)), "wide": ("float32", (32, 4, 4)), "vector": ("float16", (8,))}
    features = tuple(
        Tensor(name=name, dtype=dtype, shape=("batch", *shape))  # type: ignore[arg-type]
        for name, (dtype, shape) in shapes.items()
    )
    logits = Tensor(name="logits_2", shape=("batch", 4))
    graph = Graph(exit=2, file="segment_2.onnx", inputs=features, outputs=(*features, logits))
    (tmp_path / "config.pbtxt").write_text(segment_config("m", platform, graph, 8))
    config = parsed_config(tmp_path / "config.pbtxt")
    declared = {"hwc8", "chw32"} if platform == "tensorrt_plan" else set()
    for fields in (config.input, config.output):
        assert {field.name for field in fields if field.is_non_linear_format_io} == declared


def test_names_that_triton_has_not_are_changed(tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path / "odd", name='a "b"/ü\n')
    made = written(bundle, tmp_path / "made")
    assert {folder.name for folder in made.iterdir()} == {"a__b____", *(f"a__b_____segment_{k}" for k in (1, 2, 3))}
    for folder in made.iterdir():
        assert parsed_config(folder / "config.pbtxt").name == folder.name


def test_a_repository_is_replaced_only_where_that_is_asked(small_bundle: Bundle, tmp_path: Path) -> None:
    made = written(small_bundle, tmp_path / "made")
    with pytest.raises(BundleError, match="already holds a model repository"):
        written(small_bundle, made)
    shutil.rmtree(made / "small_segment_3")
    written(small_bundle, made, overwrite=True)
    assert (made / "small_segment_3").is_dir()
    (made / "mine").mkdir()
    with pytest.raises(BundleError, match="is not a model repository"):
        written(small_bundle, made, overwrite=True)


def test_policies_that_it_cannot_run_are_left_out(tmp_path: Path) -> None:
    from edgemate.policies import Learned

    learned = Learned((0.5, 0.5), weights=[[0.0] * 7, [0.0] * 8])
    bundle = write_small_bundle(tmp_path / "small")
    made = written(with_points(bundle, {"learned": learned, "last": FixedExit(3)}, None), tmp_path / "made")
    assert list(json.loads((made / "small" / "1" / "plan.json").read_text())["points"]) == ["last"]
    bundle = Bundle.open(bundle.path)
    with pytest.raises(ExportError, match="no operating point is one that a model repository can run"):
        written(with_points(bundle, {"learned": learned}, None), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_run_is_exported_with_its_repository(
    finished_run: Run, exported: Exported, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def ready(run: Run, output: Path, options: ExportOptions) -> Exported:
        return dataclasses.replace(exported, bundle=Bundle.open(shutil.copytree(exported.bundle.path, output)))

    monkeypatch.setattr("edgemate.exporting.targets.triton.export_onnx", ready)
    found = export_run(finished_run, tmp_path / "tiny", target="triton")
    assert found.repository == tmp_path / "tiny-triton"
    assert found.to_json()["repository"] == str(tmp_path / "tiny-triton")
    images = found.bundle.golden().images[:8]
    with AnytimeClassifier.load(found.bundle, threads=1) as classifier:
        expected = classifier.classify(images, "fast")
    with loaded_model(found.repository, found.bundle.manifest.name) as (model, _):
        [response] = model.execute([Request(images, policy="fast")])
    assert response["exit"].ravel().tolist() == [prediction.exit for prediction in expected]
    with pytest.raises(BundleError, match="already holds"):
        export_run(finished_run, tmp_path / "tiny", target="triton")


def test_what_cannot_be_made_leaves_nothing(finished_run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_gpu(flavour: str) -> Any:
        raise BackendError("TensorRT needs an NVIDIA GPU")

    monkeypatch.setattr("edgemate.exporting.targets.trt.load_tensorrt", no_gpu)
    with pytest.raises(UsageError, match="target triton runs segments; name segments"):
        export_run(finished_run, tmp_path / "a", target="triton", options=ExportOptions(layouts=("prefixes",)))
    whole = ExportOptions(platform="tensorrt", engine_batch=(8, 8, 8))
    with pytest.raises(UsageError, match=r"batch 8:8:8: .* take a single image; give 1:8:8"):
        export_run(finished_run, tmp_path / "a", target="triton", options=whole)
    with pytest.raises(BackendError, match="needs an NVIDIA GPU"):
        export_run(finished_run, tmp_path / "a", target="triton", options=ExportOptions(platform="tensorrt"))
    assert list(tmp_path.iterdir()) == []
