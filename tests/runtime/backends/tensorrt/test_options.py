from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemate.errors import UsageError
from edgemate.limits import BATCH
from edgemate.runtime.backends.tensorrt.options import BatchRange, BuildOptions, speed_options


@given(st.lists(st.integers(1, BATCH.most), min_size=3, max_size=3).map(sorted))
def test_a_batch_range_is_read_as_it_is_written(sizes: list[int]) -> None:
    batch = BatchRange(*sizes)
    assert BatchRange.parse(str(batch)) == batch


def test_one_number_is_all_three() -> None:
    assert BatchRange.parse("4") == BatchRange(4, 4, 4)


@pytest.mark.parametrize("text", ["", "1:8", "1:1:8:8", "a:b:c", "-1:1:8", "1:8:1", "0:1:1", "0", "1.5", "²"])
def test_other_batches_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="batch") as caught:
        BatchRange.parse(text)
    assert "1:1:8" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"workspace_mib": 0}, "workspace 0"),
        ({"builder_optimization_level": 6}, "builder_optimization_level 6: must be 0 to 5"),
        ({"builder_optimization_level": -1}, "builder_optimization_level -1: must be 0 to 5"),
        ({"profiling_verbosity": "loud"}, "profiling_verbosity 'loud': must be one of layer_names_only, detailed"),
        ({"hardware_compatibility_level": "all"}, "hardware_compatibility_level 'all': must be one of none, ampere"),
        ({"allow_gpu_fallback": True}, "allow_gpu_fallback: means something only with use_dla_core"),
        ({"dla_core": -1, "batch": BatchRange(1, 1, 1)}, "use_dla_core -1"),
        ({"dla_core": 0}, "batch 1:1:8: a DLA takes one batch size only"),
        ({"compute_capabilities": ("8.6", "sm89")}, "compute_capability 'sm89': give major.minor, such as 8.6"),
    ],
)
def test_what_cannot_be_is_refused_at_once(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        BuildOptions(**given)
    assert said in str(caught.value)


def test_options_that_bear_on_speed_are_told_from_those_that_do_not() -> None:
    assert speed_options(BuildOptions(strip_weights=True, profiling_verbosity="none").metadata()) == "default"
    assert speed_options({"batch": "1:1:8"}) == "default"  # of a version that knew none of them
    slow = BuildOptions(tf32=False, sparsity=True, builder_optimization_level=0, workspace_mib=64)
    assert speed_options(slow.metadata()) == (
        "tf32 false, sparsity true, builder_optimization_level 0, workspace_mib 64"
    )


def test_the_metadata_survive_json_and_do_not_tell_where_the_cache_is() -> None:
    options = BuildOptions(timing_cache=Path("private"), compute_capabilities=("8.6", "8.9"))
    assert json.loads(json.dumps(options.metadata())) == options.metadata()
    assert options.metadata() == BuildOptions(compute_capabilities=("8.6", "8.9")).metadata()
    assert options.metadata()["batch"] == "1:1:8"
