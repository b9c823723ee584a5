"""Graphs that take pixels or frames answer as the float ones do on what the preprocessor makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from commands import invoke
from fake_triton import Request, loaded_model
from PIL import Image
from ready_graphs import EXPORTER, graphs_of

from edgemate.bundle import Bundle, Graph, InputContract, Tensor
from edgemate.cli.bench import bench
from edgemate.cli.classify import classify
from edgemate.cli.evaluate import evaluate
from edgemate.cli.profile import profile
from edgemate.cli.run import run
from edgemate.core.input_spec import Resize
from edgemate.errors import ExportError, ImageError
from edgemate.exporting import Exported, ExportOptions, export_run
from edgemate.exporting.triton import write_repository
from edgemate.exporting.uint8_input import frames_of, pixels_of, resize_matrices, uint8_contract, with_uint8_input
from edgemate.exporting.verify import check_graph, open_session
from edgemate.policies import Confidence, FixedExit
from edgemate.runs import Run
from edgemate.runtime import AnytimeClassifier, Preprocessor

SHORTER = Resize(mode="shorter_side", size=20)


def contract(channels: int = 3, **options: Any) -> InputContract:
    given: dict[str, Any] = {"resize": SHORTER, "center_crop": (16, 14), "height": 16, "width": 14, **options}
    return InputContract(channels=channels, mean=(0.4, 0.5, 0.6)[:channels], std=(0.2, 0.25, 0.3)[:channels], **given)


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def prepared_by_a_graph(asked: InputContract, frames: np.ndarray, folder: Path) -> np.ndarray:
    """What the nodes in front of a graph that only passes its input on make of these."""
    channels, height, width = asked.channels, asked.height, asked.width
    shape = ["batch", channels, height, width]
    given, passed = (onnx.helper.make_tensor_value_info(name, 1, shape) for name in ("image", "passed"))
    node = onnx.helper.make_node("Identity", ["image"], ["passed"], "pass")
    proto = onnx.helper.make_model(
        onnx.helper.make_graph([node], "pass", [given], [passed]),
        opset_imports=[onnx.helper.make_opsetid("", 18)],
        ir_version=8,
    )
    takes = Tensor(name="image", shape=("batch", channels, height, width))
    gives = Tensor(name="passed", shape=("batch", channels, height, width))
    graph = Graph(exit=1, file="pass.onnx", inputs=(takes,), outputs=(gives,))
    made = with_uint8_input(proto, graph, asked)
    assert made.metadata.inputs[0].dtype == "uint8"
    (folder / "pass.onnx").write_bytes(made.proto.SerializeToString())
    check_graph(folder / "pass.onnx", made.metadata)
    [found] = open_session(folder / "pass.onnx").run(None, {"image": frames})
    return found


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_normalized_bit_for_bit_as_on_the_host(channels: int, tmp_path: Path) -> None:
    asked = uint8_contract(contract(channels))
    assert asked.shape(5) == (5, 16, 14, channels)
    images = [pixels(31, 43, channels, seed=seed) for seed in range(3)]
    taken = np.stack([Preprocessor(asked).prepare(image) for image in images])
    assert taken.dtype == np.uint8
    expected = np.stack([Preprocessor(contract(channels)).prepare(image) for image in images])
    np.testing.assert_array_equal(prepared_by_a_graph(asked, taken, tmp_path), expected)
    np.testing.assert_array_equal(pixels_of(expected, contract(channels)), taken)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"channels": 1},
        {"resize": Resize(mode="stretch", size=(16, 14)), "center_crop": None},
        {"resize": SHORTER, "center_crop": (33, 35), "height": 33, "width": 35},
        {"resize": None},
    ],
    ids=["crop", "gray", "stretch", "padded", "crop alone"],
)
def test_frames_are_resized_as_by_pil(options: dict[str, Any], interpolation: Any, tmp_path: Path) -> None:
    given = contract(**options)
    if given.resize is not None:
        rule = given.resize.model_copy(update={"interpolation": interpolation})
        given = given.model_copy(update={"resize": rule})
    asked = uint8_contract(given, (67, 91))
    frames = pixels(2, 67, 91, given.channels)
    found = prepared_by_a_graph(asked, frames, tmp_path)
    expected = np.stack([Preprocessor(given, exact=True).prepare(frame) for frame in frames])
    std = np.array(given.std)[:, None, None]
    levels = np.abs(found - expected) * std * 255
    assert levels.max() <= 1.01  # one level, where a sum is near a half
    assert (levels > 0.01).mean() < 0.01


def test_frames_are_made_larger_too(tmp_path: Path) -> None:
    asked = uint8_contract(contract(), (9, 11))
    frames = pixels(1, 9, 11, 3)
    found, expected = prepared_by_a_graph(asked, frames, tmp_path), Preprocessor(contract()).prepare(frames[0])[None]
    assert (np.abs(found - expected) * 0.3 * 255).max() <= 1.6


def test_every_weight_of_a_resize_sums_to_one() -> None:
    for matrix in resize_matrices(uint8_contract(contract(), (1080, 1920))):
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-5)


def test_a_frame_has_to_fit() -> None:
    plain = contract(resize=None, center_crop=None)
    with pytest.raises(ExportError, match=r"frame: 20 × 20 is neither resized nor cropped.*give frames of that size"):
        uint8_contract(plain, (20, 20))
    resized = contract(center_crop=None, height=20, width=20)
    with pytest.raises(
        ExportError, match=r"frame: 60 × 80 becomes 20 × 26 and is not cropped, and the network takes 20 × 20 .*ratio$"
    ):
        uint8_contract(resized, (60, 80))
    assert uint8_contract(resized, (80, 80)).frame == (80, 80)
    with pytest.raises(ExportError, match=r"frame: 1 × 10000 would become 8000 × 80000000; the limit is"):
        uint8_contract(contract(resize=Resize(mode="shorter_side", size=8000)), (1, 10_000))
    with pytest.raises(ExportError, match="too many pixels"):
        uint8_contract(contract(), (10_000, 10_000))


def test_images_that_are_not_of_8_bits_are_refused() -> None:
    images = np.random.default_rng(0).normal(size=(2, 3, 16, 14)).astype(np.float32)
    with pytest.raises(ExportError, match="not of 8 bits"):
        pixels_of(images, contract())


@pytest.fixture(scope="module")
def ready_graphs(exported: Exported) -> Iterator[None]:
    """Stand in for torch's exporter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EXPORTER, graphs_of(exported.bundle))
        yield


@pytest.fixture(scope="module")
def of_pixels(finished_run: Run, ready_graphs: None, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    options = ExportOptions(layouts=("segments", "prefixes", "conditional"), input="uint8")
    return export_run(finished_run, tmp_path_factory.mktemp("bundles") / "pixels", options=options).bundle


def test_a_bundle_of_pixels_answers_as_the_float_one(of_pixels: Bundle, exported: Exported, finished_run: Run) -> None:
    manifest = Bundle.open(of_pixels.path).manifest
    assert (manifest.input.dtype, manifest.input.layout, manifest.input.frame) == ("uint8", "NHWC", None)
    for graph in (manifest.graphs["segments"][0], *manifest.graphs["prefixes"], *manifest.graphs["conditional"]):
        assert graph.inputs[0] == Tensor(name="image", dtype="uint8", shape=(graph.inputs[0].shape[0], 8, 8, 1))
    ready = finished_run.read_golden().images
    taken = pixels_of(ready, exported.bundle.manifest.input)
    np.testing.assert_array_equal(of_pixels.golden().images, pixels_of(exported.bundle.golden().images, manifest.input))
    for layout, policy in (
        ("segments", Confidence(0.8)),
        ("prefixes", FixedExit(2)),
        ("conditional", Confidence(0.8)),
    ):
        with (
            AnytimeClassifier.load(of_pixels, threads=1, layout=layout) as pixel_wise,  # type: ignore[arg-type]
            AnytimeClassifier.load(exported.bundle, threads=1) as float_wise,
        ):
            wanted = float_wise.classify(ready, policy)
            found = pixel_wise.classify(taken, policy)
            assert [answer.exit for answer in found] == [answer.exit for answer in wanted]
            logits = np.stack([answer.logits for answer in wanted])
            np.testing.assert_allclose(np.stack([answer.logits for answer in found]), logits, atol=1e-4)
            [one] = pixel_wise.classify(taken[0], policy)  # an image
            np.testing.assert_allclose(one.logits, logits[0], atol=1e-4)
            with pytest.raises(ImageError, match="float32"):
                pixel_wise.classify(ready, policy)


def test_commands_take_a_bundle_of_pixels(of_pixels: Bundle, tmp_path: Path) -> None:
    Image.fromarray(of_pixels.golden().images[0, :, :, 0]).save(tmp_path / "0.png")
    np.savez(tmp_path / "some.npz", x_test=of_pixels.golden().images[:8, :, :, 0], y_test=of_pixels.golden().labels[:8])
    for command, *arguments in (
        (classify, tmp_path / "0.png"),
        (bench, "--repeats", 2, "--warmup", 0),
        (evaluate, "--data", tmp_path / "some.npz", "--batch", 4),
        (profile, "--repeats", 10, "--batch", 1, "--output", tmp_path / "profile"),
    ):
        result = invoke(command, of_pixels.path, *arguments, "--threads", 1)
        assert result.exit_code == 0, result.output


def test_triton_s_models_take_pixels(of_pixels: Bundle, tmp_path: Path) -> None:
    repository = write_repository(
        of_pixels, tmp_path / "repository", platform="onnxruntime", engines=(), max_batch=8, overwrite=False
    )
    name = of_pixels.manifest.name
    first = next((repository / f"{name}_segment_1").glob("config.pbtxt")).read_text()
    for config in (first, (repository / name / "config.pbtxt").read_text()):
        assert 'name: "image" data_type: TYPE_UINT8 dims: [ 8, 8, 1 ]' in config
    taken = of_pixels.golden().images[:5]
    with loaded_model(repository, name) as (model, _), AnytimeClassifier.load(of_pixels, threads=1) as classifier:
        [response] = model.execute([Request(taken)])
        policy = json.loads((repository / name / "1" / "plan.json").read_text())["default"]
        expected = classifier.classify(taken, policy)
    assert response["exit"].ravel().tolist() == [answer.exit for answer in expected]
    np.testing.assert_allclose(response["logits"], [answer.logits for answer in expected], rtol=1e-5, atol=1e-5)


def test_a_server_takes_pixels(of_pixels: Bundle) -> None:
    pytest.importorskip("aiohttp")
    from served import serving

    taken = of_pixels.golden().images[:3]
    with AnytimeClassifier.load(of_pixels, threads=1) as classifier:
        expected = [answer.label for answer in classifier.classify(taken)]
    with serving(of_pixels.path) as served:
        for name in ("image", "pixels"):  # these need no resizing, so both are the same
            tensor = {"name": name, "datatype": "UINT8", "shape": list(taken.shape), "data": taken.tolist()}
            asked = {"inputs": [tensor], "outputs": [{"name": "label"}]}
            status, content, _ = served.ask("POST", f"/v2/models/{of_pixels.manifest.name}/infer", asked)
            assert status == 200, content
            assert json.loads(content)["outputs"][0]["data"] == expected
        wrong = {"name": "image", "datatype": "FP32", "shape": list(taken.shape), "data": taken.tolist()}
        assert served.ask("POST", f"/v2/models/{of_pixels.manifest.name}/infer", {"inputs": [wrong]})[0] == 400


@pytest.mark.parametrize("precision", ["fp16", pytest.param("int8", marks=pytest.mark.slow)])
def test_every_precision_takes_pixels(finished_run: Run, ready_graphs: None, tmp_path: Path, precision: Any) -> None:
    options = ExportOptions(precision=precision, input="uint8", layouts=("segments",))
    made = export_run(finished_run, tmp_path / "bundle", options=options)
    proto = onnx.load(made.bundle.file("onnx/segment_1.onnx"))
    assert proto.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    prepared = {name for node in proto.graph.node for name in node.output if name.startswith("prepare.")}
    assert prepared == {"prepare.float", "prepare.planes", "prepare.scaled", "prepare.centered", "prepare.image"}
    for node in proto.graph.node:  # what prepares is in float32 whatever the rest is
        if node.output[0].startswith("prepare."):
            assert node.op_type in ("Cast", "Transpose", "Mul", "Sub", "Div")


def test_a_bundle_of_frames_takes_them_straight_and_nothing_else(
    finished_run: Run, of_pixels: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    resized = {**finished_run.read_metadata().input, "resize": Resize(mode="stretch", size=(8, 8)).model_dump()}
    monkeypatch.setattr(
        "edgemate.exporting.targets.onnx.input_contract", lambda *_: InputContract.model_validate(resized)
    )
    options = ExportOptions(input="uint8", frame=(48, 64), layouts=("segments", "prefixes"))
    bundle = export_run(finished_run, tmp_path / "frames", options=options).bundle
    frames = bundle.golden().images
    assert frames.shape[1:] == (48, 64, 1)
    np.testing.assert_array_equal(frames, frames_of(of_pixels.golden().images, bundle.manifest.input))
    with AnytimeClassifier.load(bundle, threads=1) as classifier:
        found = [classifier.classify(frame)[0] for frame in frames]
        wanted = bundle.golden().logits[:, -1]
        limit = 0.01 * max(1, np.abs(wanted).max())
        np.testing.assert_allclose(np.stack([answer.logits for answer in found]), wanted, atol=limit)
        assert classifier.preprocessor.prepare(frames[0][:, :, 0]).base is not None  # passed on, not copied
        with pytest.raises(ImageError, match="takes gray frames of 64x48 only"):
            classifier.classify(pixels(24, 32))
    result = invoke(bench, bundle.path, "--repeats", 2, "--warmup", 0, "--threads", 1)
    assert result.exit_code == 0, result.output
    assert "a JPEG of 64x48" in result.stdout
    for number, frame in enumerate(frames[:2]):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(frame[:, :, 0]).save(tmp_path / "images" / f"{number}.png")
    result = invoke(run, bundle.path, "--source", tmp_path / "images", "--threads", 1)
    assert result.exit_code == 0, result.output
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["label"] for answer in answers] == [classifier.classes[answer.index or 0] for answer in found[:2]]
