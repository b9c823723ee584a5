from __future__ import annotations

import pytest
from clock import FakeClock

from edgemate.training.countdown import Countdown


def test_the_first_epoch_is_reckoned_by_its_steps_and_later_ones_by_whole_epochs() -> None:
    clock = FakeClock()
    countdown = Countdown(epochs=3, steps=10, clock=clock)
    countdown.begin(1)
    assert countdown.epoch_left is None
    assert countdown.left is None
    for step in range(1, 5):
        clock.pass_by(2)
        countdown.step(step)
    assert countdown.epoch_left == pytest.approx(12)
    assert countdown.left == pytest.approx(12 + 2 * 20)
    for step in range(5, 11):
        clock.pass_by(2)
        countdown.step(step)
    clock.pass_by(5)  # calibration split and checkpoint
    countdown.begin(2)
    clock.pass_by(2)
    countdown.step(1)
    assert countdown.epoch_left == pytest.approx(18)
    assert countdown.left == pytest.approx(18 + 25)


def test_nothing_is_left_at_the_end() -> None:
    clock = FakeClock()
    countdown = Countdown(epochs=1, steps=2, clock=clock)
    countdown.begin(1)
    for step in (1, 2):
        clock.pass_by(1)
        countdown.step(step)
    assert countdown.left == 0
