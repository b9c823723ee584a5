from __future__ import annotations

import pytest

from edgemate.wording import counted


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
