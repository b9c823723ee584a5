"""What stopping at each exit costs, read from a profile: times to stop before those of the segments, of one library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemate.latency_tables import QUANTILES
from edgemate.profiling.stop_costs import StopCosts, weighted_p99


def stop(exit: int, median: float) -> dict[str, Any]:
    return {"exit": exit, "quantiles_ms": [median if quantile == 50 else 99.0 for quantile in QUANTILES]}


def timing(library: str, exit: int, p50: float, batch: int = 1) -> dict[str, Any]:
    return {"library": library, "graphs": "segments", "exit": exit, "batch": batch, "latency": {"p50": p50}}


def profile(exits: int, **more: Any) -> dict[str, Any]:
    return {"exits": [{"exit": k, "chained_macs": 10 * k} for k in range(1, exits + 1)], **more}


@pytest.mark.parametrize("exits", [1, 2, 3])
def test_times_to_stop_come_before_those_of_the_segments(exits: int) -> None:
    numbers = range(1, exits + 1)
    found = StopCosts.of(
        profile(
            exits,
            stop_times={"onnxruntime": [stop(k, 2.0 * k) for k in numbers]},
            timings=[timing("onnxruntime", k, 1.0 * k) for k in numbers],
        )
    )
    assert found.milliseconds == tuple(2.0 * k for k in numbers)
    assert found.measured_with == "ONNX Runtime"


def test_without_them_segments_at_batch_1_count() -> None:
    timings = [timing("onnxruntime", k, 1.0 * k) for k in (1, 2)] + [timing("onnxruntime", 1, 9.0, batch=4)]
    assert StopCosts.of(profile(2, timings=timings)).milliseconds == (1.0, 2.0)


def test_another_library_is_taken_whole_where_onnx_runtime_was_not_timed() -> None:
    found = StopCosts.of(profile(2, stop_times={"tensorrt": [stop(1, 0.5), stop(2, 0.4)]}))
    assert found.milliseconds == (0.5, 0.5), "times rise from exit to exit"
    assert found.measured_with == "TensorRT"


def test_a_profile_without_times_has_macs_only() -> None:
    assert StopCosts.of(profile(2)) == StopCosts((10.0, 20.0))


@given(st.lists(st.tuples(st.floats(0.01, 1e4), st.integers(0, 700)), min_size=1, max_size=8))
def test_p99_is_that_of_numpy_over_all_images_in_whatever_order_exits_cost(exits: list[tuple[float, int]]) -> None:
    values, counts = zip(*exits, strict=True)
    images = sum(counts)
    if images == 0:
        with pytest.raises(ValueError, match="no items"):
            weighted_p99(values, counts)
        return
    # 0.99 as a binary number is a little off, so numpy is asked for the exact rank.
    rank = -(-99 * images // 100)
    expected = np.quantile(np.repeat(values, counts), (rank - 0.5) / images, method="inverted_cdf")
    assert weighted_p99(values, counts) == expected
    costs = StopCosts(macs=values, milliseconds=values)
    assert costs.p99_ms([count / images for count in counts], images) == expected
