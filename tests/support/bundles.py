"""A small real bundle, made without torch: three exits, and two feature maps across the first cut.

Where onnx is not installed, as on a device, the ONNX files come from `$EDGEMATE_TEST_BUNDLES`, a folder that
`python bundles.py FOLDER` has filled where it is.
"""

from __future__ import annotations

import datetime
import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import small_network
from small_network import CLASSES, MIXING, NETWORKS, SHAPES, Add, Conv, Head, Operation

from edgemate import files
from edgemate.bundle import (
    CALIBRATION_FILE,
    Bundle,
    BundleMetadata,
    BundleWriter,
    ExitMetadata,
    Graph,
    InputContract,
    Resize,
    Tensor,
)
from edgemate.exits import calibrate
from edgemate.exits.operating_points import POLICIES_FILE
from edgemate.exits.scores import max_probability

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

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


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The small bundle; tests must not change it."""
    return write_small_bundle(tmp_path_factory.mktemp("bundles") / "small")


@pytest.fixture
def own_bundle(small_bundle: Bundle, tmp_path: Path) -> Path:
    """The folder of a copy that a test may damage."""
    return Path(shutil.copytree(small_bundle.path, tmp_path / "own"))


def write_small_bundle(target: Path, *, conditional: bool = False, network: str = "small", **changes: Any) -> Bundle:
    """Write the bundle to folder `target`, also with the conditional graph; `changes` replace keys of its metadata.

    `network` is its name too: `small`, or `mixing`, whose exits answer with weighted sums.
    """
    with BundleWriter(target) as writer:
        metadata = write_graphs(writer.path, conditional=conditional, network=network)
        images = golden_images(24)
        computed = small_network.run((1, 2, 3), {"image": images}, network)
        logits = np.stack([computed[f"logits_{exit}"] for exit in (1, 2, 3)], axis=1)
        # What the first exit says where it is sure, else what the last does: stopping early can pay.
        sure = max_probability(logits[:, 0]) > 0.9
        labels = np.where(sure, logits[:, 0].argmax(axis=1), logits[:, 2].argmax(axis=1))
        files.write_arrays(writer.path / "golden.npz", {"images": images, "labels": labels, "logits": logits})
        files.write_arrays(writer.path / CALIBRATION_FILE, {"labels": labels, "logits": logits})
        points = calibrate(logits, labels, MACS, fit_temperatures=False).points.model_dump(mode="json")
        files.write_json(writer.path / POLICIES_FILE, points)
        return writer.finish(metadata.model_copy(update=changes))


def write_graphs(folder: Path, *, conditional: bool = False, network: str = "small") -> BundleMetadata:
    """Write the ONNX files below `folder`; the metadata of a bundle that has them."""
    if importlib.util.find_spec("onnx") is None:
        return _copy_graphs("conditional" if conditional and network == "small" else network, folder)
    (folder / "onnx").mkdir()
    wiring, stages = NETWORKS[network]
    graphs: dict[str, list[Graph]] = {"segments": [], "prefixes": []}
    models = []
    for exit, (takes, gives) in enumerate(wiring, start=1):
        segment, prefix = f"onnx/segment_{exit}.onnx", f"onnx/prefix_{exit}.onnx"
        models.append(_save(folder / segment, stages[exit - 1], takes, gives))
        _save(folder / prefix, [part for stage in stages[:exit] for part in stage], ("image",), (f"logits_{exit}",))
        graphs["segments"].append(_graph(segment, exit, takes, gives))
        graphs["prefixes"].append(_graph(prefix, exit, ("image",), (f"logits_{exit}",)))
    if conditional:
        from edgemate.exporting.conditional import conditional_graph

        made = conditional_graph(models, graphs["segments"])
        (folder / made.metadata.file).write_bytes(made.proto.SerializeToString())
        graphs["conditional"] = [made.metadata]
    return BundleMetadata(
        name=network,
        created=datetime.datetime(2024, 1, 2, tzinfo=datetime.timezone.utc),
        tools={"edgemate": "0.1.0"},
        input=CONTRACT,
        classes=CLASSES,
        exits=tuple(
            ExitMetadata(exit=exit, name=f"stage{exit}", macs=macs, chained_macs=macs, parameters=1000 * exit)
            for exit, macs in enumerate(MACS, start=1)
        ),
        graphs=graphs,
    )


def golden_images(count: int, seed: int = 7) -> np.ndarray:
    """Ready float32 images `(count, 3, 8, 8)`."""
    return np.random.default_rng(seed).normal(size=(count, 3, 8, 8)).astype(np.float32)


def _copy_graphs(name: str, folder: Path) -> BundleMetadata:
    made = os.environ.get("EDGEMATE_TEST_BUNDLES")
    if made is None:
        pytest.skip("needs onnx, or in $EDGEMATE_TEST_BUNDLES what tests/support/bundles.py wrote where onnx is")
    bundle = Bundle.open(Path(made) / name)
    shutil.copytree(bundle.path / "onnx", folder / "onnx")
    return BundleMetadata.model_validate(bundle.manifest.model_dump(exclude={"files"}))


def _graph(file: str, exit: int, takes: tuple[str, ...], gives: tuple[str, ...]) -> Graph:
    return Graph(exit=exit, file=file, inputs=map(_tensor, takes), outputs=map(_tensor, gives))


def _tensor(name: str) -> Tensor:
    return Tensor(name=name, shape=("batch", *SHAPES[name]))


def _save(
    path: Path, operations: tuple[Operation, ...] | list[Operation], takes: tuple[str, ...], gives: tuple[str, ...]
) -> ModelProto:
    import onnx
    from onnx import TensorProto, helper

    def value(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *SHAPES[name]])

    nodes = [node for operation in operations for node in _nodes(operation)]
    for node in nodes:
        node.name = f"make_{node.output[0]}"
    graph = helper.make_graph(nodes, path.stem, [value(name) for name in takes], [value(name) for name in gives])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return model


def _nodes(operation: Operation) -> list[NodeProto]:
    from onnx import helper, numpy_helper

    def constant(name: str) -> NodeProto:
        value = numpy_helper.from_array(small_network.weights()[operation])
        return helper.make_node("Constant", [], [name], value=value)

    if isinstance(operation, Conv):
        source, to, stride = operation.source, operation.to, operation.stride
        return [
            constant(f"{to}_kernel"),
            helper.make_node("Conv", [source, f"{to}_kernel"], [f"{to}_sum"], pads=[1] * 4, strides=[stride] * 2),
            helper.make_node("Relu", [f"{to}_sum"], [to]),
        ]
    if isinstance(operation, Add):
        return [helper.make_node("Add", [operation.left, operation.right], [operation.to])]
    exit = operation.exit
    if isinstance(operation, Head):
        return [
            constant(f"head_{exit}"),
            helper.make_node("Flatten", [operation.source], [f"flat_{exit}"]),
            helper.make_node("Gemm", [f"flat_{exit}", f"head_{exit}"], [f"{operation.gives}_{exit}"]),
        ]
    earlier = [f"said_{exit - 1}"] if exit > 1 else []
    fractions = numpy_helper.from_array(np.array(MIXING[exit - 1], np.float32)[:, None])
    axis = numpy_helper.from_array(np.array([1], np.int64))
    return [
        helper.make_node("Constant", [], [f"shares_{exit}"], value=fractions),
        helper.make_node("Constant", [], [f"axis_{exit}"], value=axis),
        helper.make_node("Unsqueeze", [f"own_{exit}", f"axis_{exit}"], [f"last_{exit}"]),
        helper.make_node("Concat", [*earlier, f"last_{exit}"], [f"said_{exit}"], axis=1),
        helper.make_node("Mul", [f"said_{exit}", f"shares_{exit}"], [f"weighted_{exit}"]),
        helper.make_node("ReduceSum", [f"weighted_{exit}", f"axis_{exit}"], [f"logits_{exit}"], keepdims=0),
    ]


if __name__ == "__main__":
    write_small_bundle(Path(sys.argv[1]) / "small")
    write_small_bundle(Path(sys.argv[1]) / "conditional", conditional=True)
    write_small_bundle(Path(sys.argv[1]) / "mixing", conditional=True, network="mixing")
