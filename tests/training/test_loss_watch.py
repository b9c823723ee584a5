from __future__ import annotations

import torch

from edgemate.training.loss_watch import LossWatch


def losses(*values):
    return [torch.tensor(float(value)) for value in values]


def test_a_loss_that_is_not_finite_is_found_at_once_where_every_loss_is_checked():
    watch = LossWatch()
    found = [watch.add(loss) for loss in losses(1, 2, "nan")]
    assert found[:2] == [None, None]
    assert found[2] is not None
    assert found[2].steps_ago == 0


def test_the_first_bad_loss_is_found_at_the_next_look():
    watch = LossWatch(every=4)
    found = [watch.add(loss) for loss in losses(1, "inf", "nan", 1)]
    assert found[:3] == [None, None, None]
    assert found[3] == (float("inf"), 2)


def test_a_look_begins_where_the_last_one_ended():
    watch = LossWatch(every=2)
    found = [watch.add(loss) for loss in losses(1, 1, 1, "-inf")]
    assert found == [None, None, None, (float("-inf"), 0)]


def test_the_last_losses_of_an_epoch_are_looked_at_in_time():
    watch = LossWatch(every=100)
    assert watch.add(torch.tensor(float("inf"))) is None
    assert watch.add(torch.tensor(1.0), last=True) == (float("inf"), 1)
    assert watch.add(torch.tensor(1.0), last=True) is None


def test_losses_keep_nothing_of_the_graph_alive():
    watch = LossWatch(every=2)
    watch.add((torch.ones(1, requires_grad=True) * 2).sum())
    assert not any(loss.requires_grad for loss in watch._losses)
