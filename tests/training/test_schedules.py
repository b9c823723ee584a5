import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemate.training.schedules import constant, cosine, multi_step, one_cycle, with_warmup

POSITIONS = st.floats(0, 10)


def test_cosine_goes_from_one_to_the_floor() -> None:
    schedule = cosine(10, floor=0.1)
    assert [schedule(0), schedule(5), schedule(10)] == pytest.approx([1, 0.55, 0.1])


def test_multi_step_falls_at_each_milestone() -> None:
    schedule = multi_step(10, milestones=[4, 8], gamma=0.5)
    assert [schedule(position) for position in (0, 3.99, 4, 8, 9)] == [1, 1, 0.5, 0.25, 0.25]


def test_one_cycle_rises_and_falls() -> None:
    schedule = one_cycle(10, rise=0.3, first=0.1, last=0.01)
    assert [schedule(0), schedule(3), schedule(10)] == pytest.approx([0.1, 1, 0.01])


@given(POSITIONS)
def test_factors_stay_between_zero_and_one(position: float) -> None:
    for schedule in (constant(10), cosine(10), multi_step(10, milestones=[3, 7]), one_cycle(10), one_cycle(10, rise=1)):
        assert 0 <= schedule(position) <= 1
        assert 0 <= with_warmup(schedule, 2)(position) <= schedule(position)


def test_warm_up_is_a_line() -> None:
    schedule = with_warmup(constant(10), 4)
    assert [schedule(0), schedule(1), schedule(4), schedule(9)] == [0, 0.25, 1, 1]
