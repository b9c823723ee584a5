from __future__ import annotations

import numpy as np
import onnx
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgemate.exporting.fp16 import to_float16
from edgemate.exporting.rounding import with_rounding
from edgemate.exporting.verify import open_session


def chain() -> ModelProto:
    """x · 300 · 300 · 1e-4 + 0.1."""
    constants = {"up": 300, "down": 1e-4, "shift": 0.1}
    steps = [("Mul", "up"), ("Mul", "up"), ("Mul", "down"), ("Add", "shift")]
    names = ["x", "a", "b", "c", "y"]
    graph = helper.make_graph(
        [
            helper.make_node(operator, [names[i], constant], [names[i + 1]], f"step_{i}")
            for i, (operator, constant) in enumerate(steps)
        ],
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(np.float32(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def run(proto: ModelProto, x: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(proto, full_check=True)
    return open_session(proto.SerializeToString()).run(None, {"x": x})[0]


@given(arrays(np.float32, (2, 3), elements=st.floats(-4, 4, width=32)))
def test_every_step_is_what_numpy_says_in_float16(x: np.ndarray) -> None:
    with np.errstate(over="ignore"):
        half = x.astype(np.float16)
        for step in (300, 300, 1e-4):
            half = half * np.float16(step)
        wanted = half + np.float16(0.1)
    np.testing.assert_array_equal(run(with_rounding(to_float16(chain(), ())), x), wanted.astype(np.float32))


def test_overflow_is_seen() -> None:
    large = np.full((1, 3), 2, np.float32)
    assert np.isinf(run(with_rounding(to_float16(chain(), ())), large)).all()
    kept = to_float16(chain(), ("step_1", "step_2"))
    np.testing.assert_allclose(run(with_rounding(kept), large), 18.1, rtol=1e-3)


def test_float32_stays_as_it_is() -> None:
    assert with_rounding(chain()) == chain()
