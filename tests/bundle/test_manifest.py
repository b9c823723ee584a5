from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bundles import CONTRACT, write_graphs
from pydantic import ValidationError

from edgemate.bundle import BundleMetadata, Graph, InputContract, Manifest, PrecisionMetadata, Tensor
from edgemate.bundle.manifest import FileMetadata
from edgemate.core.input_spec import Resize

FILE = {"sha256": "0" * 64, "bytes": 1}


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> BundleMetadata:
    return write_graphs(tmp_path_factory.mktemp("graphs"))


def manifest(metadata: BundleMetadata, **changes: Any) -> Manifest:
    files = {graph.file: FILE for graphs in metadata.graphs.values() for graph in graphs}
    return Manifest.model_validate(metadata.model_dump() | {"files": files} | changes)


def test_the_manifest_survives_a_round_trip_through_json(metadata: BundleMetadata) -> None:
    whole = manifest(metadata)
    assert Manifest.model_validate_json(whole.model_dump_json()) == whole


def test_a_segment_may_take_several_tensors(metadata: BundleMetadata) -> None:
    second = manifest(metadata).graphs["segments"][1]
    assert [tensor.name for tensor in second.inputs] == ["fine", "coarse"]


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "../up",
        "a/../../up",
        "a/..",
        "/etc/passwd",
        "C:/x",
        "c:x",
        "a\\b",
        "\\\\host\\x",
        "a//b",
        "./a",
        "a/",
    ],
)
def test_paths_that_leave_or_are_not_plain_are_refused(metadata: BundleMetadata, path: str) -> None:
    with pytest.raises(ValidationError, match=r"leaves the bundle|not a relative path|shortest form"):
        manifest(metadata, files={path: FILE})


def test_unknown_keys_are_refused(metadata: BundleMetadata) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        manifest(metadata, color="red")


@pytest.mark.parametrize("fact", [{"sha256": "A" * 64, "bytes": 1}, {"sha256": "0" * 64, "bytes": -1}])
def test_file_metadata_are_a_hash_and_a_size(fact: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FileMetadata.model_validate(fact)


def test_exits_are_numbered_from_one(metadata: BundleMetadata) -> None:
    with pytest.raises(ValidationError, match="exits are not numbered 1 to 3"):
        manifest(metadata, exits=metadata.exits[::-1])


def test_every_layout_has_a_graph_per_exit(metadata: BundleMetadata) -> None:
    graphs = {**metadata.graphs, "prefixes": metadata.graphs["prefixes"][:2]}
    with pytest.raises(ValidationError, match=r"graphs\.prefixes are not one per exit"):
        manifest(metadata, graphs=graphs)


def test_graphs_are_among_the_files(metadata: BundleMetadata) -> None:
    with pytest.raises(ValidationError, match=r"segment_1\.onnx' is not in the list of files"):
        manifest(metadata, files={})


def test_the_manifest_does_not_list_itself(metadata: BundleMetadata) -> None:
    with pytest.raises(ValidationError, match="cannot list itself"):
        manifest(metadata, files={**manifest(metadata).model_dump()["files"], "bundle.json": FILE})


def replaced(metadata: BundleMetadata, segment: int, **changes: Any) -> dict[str, Any]:
    segments = list(metadata.graphs["segments"])
    segments[segment - 1] = segments[segment - 1].model_copy(update=changes)
    return {**metadata.graphs, "segments": segments}


@pytest.mark.parametrize(
    ("segment", "changes", "problem"),
    [
        (
            2,
            {"inputs": (Tensor(name="nowhere", shape=("batch", 2)),)},
            "exit 2: takes 'nowhere', which no earlier",
        ),
        (2, {"inputs": (Tensor(name="fine", shape=("batch", 9, 9)),)}, "exit 2: takes 'fine', which no earlier"),
        (1, {"inputs": (Tensor(name="features_2", shape=("batch", 6, 4, 4)),)}, "exit 1: takes 'features_2'"),
        (
            3,
            {"outputs": (Tensor(name="logits_3", shape=("batch", 7)),)},
            "exit 3: does not give float32 'logits_3'",
        ),
        (3, {"outputs": (Tensor(name="logits_2", shape=("batch", 4)),)}, "exit 3: does not give"),
    ],
)
def test_segments_fit_together(metadata: BundleMetadata, segment: int, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        manifest(metadata, graphs=replaced(metadata, segment, **changes))


def test_two_segments_do_not_give_the_same_tensor(metadata: BundleMetadata) -> None:
    third = metadata.graphs["segments"][2]
    outputs = (*third.outputs, Tensor(name="fine", shape=("batch", 4, 8, 8)))
    with pytest.raises(ValidationError, match="exit 3: gives 'fine', which is already taken"):
        manifest(metadata, graphs=replaced(metadata, 3, outputs=outputs))


@pytest.mark.parametrize("shape", [("batch", "batch"), (2, "batch"), ()])
def test_the_first_dimension_alone_may_be_the_batch(shape: tuple[Any, ...]) -> None:
    with pytest.raises(ValidationError, match="'batch'"):
        Tensor(name="x", shape=shape)


def test_a_segment_gives_as_many_as_it_takes(metadata: BundleMetadata) -> None:
    first = metadata.graphs["segments"][0]
    outputs = (*first.outputs, Tensor(name="summary", shape=(1, 4)))
    with pytest.raises(ValidationError, match="exit 1: the first dimension of 'summary' is not 'batch'"):
        manifest(metadata, graphs=replaced(metadata, 1, outputs=outputs))


def conditional(**changes: Any) -> Graph:
    graph = Graph(
        exit=3,
        file="onnx/segment_1.onnx",
        inputs=(Tensor(name="image", shape=(1, 3, 8, 8)), Tensor(name="thresholds", shape=(2,))),
        outputs=(Tensor(name="logits", shape=(1, 4)), Tensor(name="exit", dtype="int32", shape=(1,))),
    )
    return graph.model_copy(update=changes)


def test_a_conditional_graph_takes_thresholds_and_gives_the_exit(metadata: BundleMetadata) -> None:
    graphs = {**metadata.graphs, "conditional": (conditional(),)}
    assert manifest(metadata, graphs=graphs).graphs["conditional"] == (conditional(),)
    for wrong in (
        (),
        (conditional(), conditional()),
        (conditional(exit=1),),
        (conditional(inputs=conditional().inputs[:1]),),
        (conditional(inputs=(conditional().inputs[0], Tensor(name="thresholds", shape=(3,)))),),
        (conditional(outputs=(conditional().outputs[0], Tensor(name="exit", shape=(1,)))),),
    ):
        with pytest.raises(ValidationError, match=r"graphs\.conditional: is not one graph, of exit 3"):
            manifest(metadata, graphs={**metadata.graphs, "conditional": wrong})


def test_precision_and_batch_are_optional(metadata: BundleMetadata) -> None:
    assert manifest(metadata).precision is None
    parsed = manifest(
        metadata,
        precision={"name": "int8", "kept_fp32": [], "calibration_samples": [3, 5], "tolerance": 0.25},
        engine_batch=(1, 1, 8),
    )
    assert parsed.precision == PrecisionMetadata(name="int8", calibration_samples=(3, 5), tolerance=0.25)
    with pytest.raises(ValidationError, match="precision"):
        manifest(metadata, precision={"name": "int4", "tolerance": 0.25})
    with pytest.raises(ValidationError, match=r"engine_batch \(1, 4, 2\) is not"):
        manifest(metadata, engine_batch=(1, 4, 2))
    with pytest.raises(ValidationError, match="less than or equal to 1024"):
        manifest(metadata, engine_batch=(1, 1, 10**9))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"mean": (0.5,)}, "one number per channel, 3 each"),
        ({"std": (0.1, 0.1, 0.0)}, "greater than 0"),
        ({"mean": (0.5, float("nan"), 0.5)}, "must be finite"),
        ({"center_crop": (8, 9)}, "center_crop"),
        ({"center_crop": None, "resize": Resize(mode="stretch", size=(9, 8))}, "without a crop"),
        ({"channels": 2}, "1 or 3"),
        ({"divisor": 1e-300}, "divisor"),
        ({"divisor": 1e308}, "divisor"),
    ],
)
def test_an_input_contract_holds_together(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        InputContract.model_validate(CONTRACT.model_dump() | changes)


@pytest.mark.parametrize(("mode", "size"), [("stretch", 8), ("shorter_side", (8, 8))])
def test_a_resize_has_the_size_of_its_mode(mode: str, size: Any) -> None:
    with pytest.raises(ValidationError, match="size is"):
        Resize.model_validate({"mode": mode, "size": size})


def test_metadata_are_frozen(metadata: BundleMetadata) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        metadata.name = "other"  # type: ignore[misc]


def test_written_graphs_are_where_the_metadata_say(tmp_path: Path) -> None:
    for graphs in write_graphs(tmp_path).graphs.values():
        assert all((tmp_path / graph.file).is_file() for graph in graphs)
