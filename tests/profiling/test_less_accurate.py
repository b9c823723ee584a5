from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemate.profiling.less_accurate import less_accurate_exits, less_accurate_json, less_accurate_warning


def exits(*accuracies: float) -> Any:
    return [SimpleNamespace(exit=k, name=f"stage{k}", accuracy=a) for k, a in enumerate(accuracies, start=1)]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_an_exit_is_named_if_and_only_if_an_earlier_one_is_better(accuracies: list[float]) -> None:
    found = {one.exit: one for one in less_accurate_exits(exits(*accuracies))}
    for k, accuracy in enumerate(accuracies):
        best = max(accuracies[:k], default=accuracy)
        assert (k + 1 in found) == (best > accuracy)
        if best > accuracy:
            assert accuracies[found[k + 1].than - 1] == best
            assert found[k + 1].by == best - accuracy


def test_a_last_exit_that_is_less_accurate_may_be_left_out() -> None:
    said = less_accurate_warning(exits(0.3, 0.538, 0.474))
    assert said == (
        "exit 3 (stage3) is 6.4 points less accurate than exit 2 (stage2); the network may end at exit 2 (exits: "
        "{at: [stage1, stage2], final: new}), or a larger data.image_size may help its later stages"
    )
    assert less_accurate_json(exits(0.3, 0.538, 0.474)) == {
        "exits": [{"exit": 3, "than": 2, "by": pytest.approx(0.064)}],
        "warning": said,
    }


def test_an_exit_in_between_may_be_left_out() -> None:
    said = less_accurate_warning(exits(0.5, 0.4, 0.6))
    assert said is not None
    assert said.startswith("exit 2 (stage2) is 10 points less accurate than exit 1 (stage1); leave such an exit out")


def test_rising_accuracy_needs_no_words() -> None:
    assert less_accurate_json(exits(0.5, 0.5, 0.6)) == {"exits": [], "warning": None}
