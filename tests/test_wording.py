from __future__ import annotations

import pytest

from edgemate.wording import counted


@pytest.mark.parametrize(
    ("number", "nouns", "said"),
    [
        (0, ("epoch",), "0 epochs"),
        (1, ("epoch",), "1 epoch"),
        (1400, ("image",), "1,400 images"),
        (1, ("class", "classes"), "1 class"),
        (2, ("class", "classes"), "2 classes"),
    ],
)
def test_one_is_singular(number: int, nouns: tuple[str, ...], said: str) -> None:
    assert counted(number, *nouns) == said
