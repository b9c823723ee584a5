import pytest
import torch

from edgemate.training.tally import Tally

LOGITS = torch.tensor([[[3.0, 0.0], [0.0, 2.0]], [[0.0, 1.0], [0.0, 3.0]], [[1.0, 0.0], [0.0, 2.0]]])


def test_accuracies_are_fractions_of_all_images_so_far() -> None:
    tally = Tally(2)
    assert tally.accuracies() == {}
    tally.add(LOGITS, torch.tensor([0, 1, 0]), teachers=LOGITS[:, :1])
    tally.add(LOGITS[:1], torch.tensor([1]), teachers=LOGITS[:1, :1])
    found = tally.accuracies()
    assert found == pytest.approx({"exit1": 0.75, "exit2": 0.5, "mean": 0.625, "ensemble": 0.5, "teacher1": 0.75})
    tally.reset()
    assert tally.accuracies() == {}


def test_an_image_without_a_label_does_not_count() -> None:
    with_them, without = Tally(2), Tally(2)
    with_them.add(torch.cat([LOGITS, LOGITS]), torch.tensor([0, 1, 0, -1, -1, -1]), torch.cat([LOGITS, LOGITS]))
    without.add(LOGITS, torch.tensor([0, 1, 0]), LOGITS)
    assert with_them.accuracies() == without.accuracies()
