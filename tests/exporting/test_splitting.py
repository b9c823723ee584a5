from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgemate.exporting.splitting import split_by_sizes
from edgemate.exporting.verify import open_session


@pytest.mark.parametrize(("size", "count"), [(6, 2), (7, 3), (5, 5)])
def test_the_sizes_replace_the_number_and_the_parts_stay(size: int, count: int) -> None:
    names = [f"part_{i}" for i in range(count)]
    node = helper.make_node("Split", ["x"], names, axis=-1, num_outputs=count)
    graph = helper.make_graph(
        [node],
        "split",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", size])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", f"{name}_size"]) for name in names],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    x = np.arange(2 * size, dtype=np.float32).reshape(2, size)
    expected = open_session(proto.SerializeToString()).run(None, {"x": x})
    split_by_sizes(proto)
    (split,) = proto.graph.node
    assert [attribute.name for attribute in split.attribute] == ["axis"]
    assert len(split.input) == 2
    onnx.checker.check_model(proto, full_check=True)
    found = open_session(proto.SerializeToString()).run(None, {"x": x})
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
