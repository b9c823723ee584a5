from __future__ import annotations

import pytest

from edgemate.wording import counted, other_format


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [
        (0, "epoch", "0 epochs"),
        (1, "epoch", "1 epoch"),
        (1400, "image", "1,400 images"),
        (1, "class", "1 class"),
        (2, "class", "2 classes"),
        (0.5, "point", "0.5 points"),
        (1.0, "point", "1 point"),
    ],
)
def test_one_is_singular(number: float, noun: str, said: str) -> None:
    assert counted(number, noun) == said


def test_another_format_says_who_wrote_it_and_what_to_do() -> None:
    assert other_format(2, 2, "train again") is None
    assert other_format(1, 2, "train again") == (
        "was written by an older edgemate (format 1); this one reads format 2: train again"
    )
    assert other_format(3, 2, "train again") == (
        "was written by a newer edgemate (format 3); this one reads format 2: upgrade edgemate"
    )
