"""A small real bundle, made without torch: three exits, and two feature maps across the first cut."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgemate import files
from edgemate.bundle import Bundle, BundleFacts, BundleWriter, ExitFacts, Graph, InputContract, Resize, Tensor
from edgemate.exits import operating_points
from edgemate.exits.operating_points import POLICIES_FILE
from edgemate.exits.scores import max_probability

CLASSES = ("circle", "square", "star", "wave")
MACS = (20_000, 30_000, 40_000)
CONTRACT = InputContract(
    channels=3,
    height=8,
    width=8,
    resize=Resize(mode="shorter_side", size=8),
    center_crop=(8, 8),
    mean=(0.5, 0.45, 0.4),
    std=(0.25, 0.2, 0.3),
)
SHAPES = {"image": (3, 8, 8), "fine": (4, 8, 8), "coarse": (6, 4, 4), "features_2": (6, 4, 4)}
SHAPES |= {f"logits_{exit}": (len(CLASSES),) for exit in (1, 2, 3)}
# What each segment takes and gives.
SEGMENTS = (
    (("image",), ("fine", "coarse", "logits_1")),
    (("fine", "coarse"), ("features_2", "logits_2")),
    (("features_2",), ("logits_3",)),
)


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The small bundle; tests must not change it."""
    return write_small_bundle(tmp_path_factory.mktemp("bundles") / "small")


@pytest.fixture
def own_bundle(small_bundle: Bundle, tmp_path: Path) -> Path:
    """The folder of a copy that a test may damage."""
    return Path(shutil.copytree(small_bundle.path, tmp_path / "own"))


def write_small_bundle(target: Path, **changes: Any) -> Bundle:
    """Write the bundle to folder `target`; `changes` replace keys of its facts."""
    with BundleWriter(target) as writer:
        facts = write_graphs(writer.path)
        images = golden_images(24)
        logits = np.stack([_run(writer.path / graph.file, images) for graph in facts.graphs["prefixes"]], axis=1)
        # What the first exit says where it is sure, else what the last does: stopping early can pay.
        sure = max_probability(logits[:, 0]) > 0.9
        labels = np.where(sure, logits[:, 0].argmax(axis=1), logits[:, 2].argmax(axis=1))
        files.write_arrays(writer.path / "golden.npz", {"images": images, "labels": labels, "logits": logits})
        points = operating_points(logits, labels, MACS)
        files.write_json(writer.path / POLICIES_FILE, points.model_dump(mode="json"))
        return writer.finish(facts.model_copy(update=changes))


def write_graphs(folder: Path) -> BundleFacts:
    """Write the ONNX files below `folder`; the facts of a bundle that has them."""
    (folder / "onnx").mkdir()
    stages = _stages()
    graphs: dict[str, list[Graph]] = {"segments": [], "prefixes": []}
    for exit, (takes, gives) in enumerate(SEGMENTS, start=1):
        nodes = [node for stage in stages[:exit] for node in stage]
        graphs["segments"].append(_save(folder, f"segment_{exit}", exit, stages[exit - 1], takes, gives))
        graphs["prefixes"].append(_save(folder, f"prefix_{exit}", exit, nodes, ("image",), (f"logits_{exit}",)))
    return BundleFacts(
        name="small",
        created=datetime.datetime(2024, 1, 2, tzinfo=datetime.timezone.utc),
        tools={"edgemate": "0.1.0"},
        input=CONTRACT,
        classes=CLASSES,
        exits=tuple(
            ExitFacts(exit=exit, name=f"stage{exit}", macs=macs, chained_macs=macs, parameters=1000 * exit)
            for exit, macs in enumerate(MACS, start=1)
        ),
        graphs=graphs,
    )


def golden_images(count: int, seed: int = 7) -> np.ndarray:
    """Ready float32 pictures `(count, 3, 8, 8)`."""
    return np.random.default_rng(seed).normal(size=(count, 3, 8, 8)).astype(np.float32)


def _stages() -> list[list[NodeProto]]:
    weights = np.random.default_rng(3)

    def conv(source: str, to: str, channels: tuple[int, int], stride: int) -> list[NodeProto]:
        kernel = weights.normal(size=(channels[1], channels[0], 3, 3)).astype(np.float32) / 3
        return [
            _constant(f"{to}_kernel", kernel),
            helper.make_node("Conv", [source, f"{to}_kernel"], [f"{to}_sum"], pads=[1] * 4, strides=[stride] * 2),
            helper.make_node("Relu", [f"{to}_sum"], [to]),
        ]

    def head(source: str, exit: int, features: int, spread: float) -> list[NodeProto]:
        matrix = spread * weights.normal(size=(features, len(CLASSES))).astype(np.float32)
        matrix -= matrix.mean(axis=0)  # or what all pictures have in common would name the class
        return [
            _constant(f"head_{exit}", matrix),
            helper.make_node("Flatten", [source], [f"flat_{exit}"]),
            helper.make_node("Gemm", [f"flat_{exit}", f"head_{exit}"], [f"logits_{exit}"]),
        ]

    return [
        [*conv("image", "fine", (3, 4), 1), *conv("image", "coarse", (3, 6), 2), *head("fine", 1, 256, 0.2)],
        [
            *conv("fine", "halved", (4, 6), 2),
            helper.make_node("Add", ["halved", "coarse"], ["features_2"]),
            *head("features_2", 2, 96, 0.2),
        ],
        [*conv("features_2", "last", (6, 8), 1), *head("last", 3, 128, 0.2)],
    ]


def _save(
    folder: Path, name: str, exit: int, nodes: list[NodeProto], takes: tuple[str, ...], gives: tuple[str, ...]
) -> Graph:
    graph = helper.make_graph(nodes, name, [_value(tensor) for tensor in takes], [_value(tensor) for tensor in gives])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    file = f"onnx/{name}.onnx"
    onnx.save(model, folder / file)
    return Graph(exit=exit, file=file, inputs=[_tensor(tensor) for tensor in takes], outputs=map(_tensor, gives))


def _constant(name: str, value: np.ndarray) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))


def _value(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *SHAPES[name]])


def _tensor(name: str) -> Tensor:
    return Tensor(name=name, shape=("batch", *SHAPES[name]))


def _run(graph: Path, images: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, {"image": images})[0]
