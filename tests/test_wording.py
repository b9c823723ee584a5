from __future__ import annotations

import pytest

from edgemate.wording import LONGEST, counted, key_path, needing, other_format, shortened


@pytest.mark.parametrize(
    ("number", "noun", "expected"),
    [
        (0, "epoch", "0 epochs"),
        (1, "epoch", "1 epoch"),
        (1400, "image", "1,400 images"),
        (1, "class", "1 class"),
        (2, "class", "2 classes"),
        (2, "micro-batch", "2 micro-batches"),
        (0.5, "point", "0.5 points"),
        (1.0, "point", "1 point"),
    ],
)
def test_one_is_singular(number: float, noun: str, expected: str) -> None:
    assert counted(number, noun) == expected


def test_one_needs_and_two_need() -> None:
    assert (needing(1, "exit"), needing(2, "class")) == ("1 exit needs", "2 classes need")


def test_another_format_is_described_with_a_remedy() -> None:
    assert other_format(2, 2, "train again") is None
    assert other_format(1, 2, "train again") == (
        "was written by an older edgemate (format 1); this one reads format 2: train again"
    )
    assert other_format(3, 2, "train again") == (
        "was written by a newer edgemate (format 3); this one reads format 2: upgrade edgemate"
    )


def test_a_message_repeats_the_beginning_of_a_long_text() -> None:
    assert shortened("x" * LONGEST) == "x" * LONGEST
    assert shortened("x" * 100_000) == "x" * LONGEST + "…"
    assert key_path(("exits", 0, "name")) == "exits.0.name"
    assert key_path(("files", "a", "[key]")) == "files.a"
    assert len(key_path(("points", "x" * 100_000))) == LONGEST + 1
