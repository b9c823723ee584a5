from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgemate.data.datasets._synsets import readable


def test_shared_words_are_told_apart():
    words = {
        "n01440764": "tench, Tinca tinca",
        "n02012849": "crane",
        "n02113186": "Cardigan, Cardigan Welsh corgi",
        "n02963159": "cardigan",
        "n03126707": "crane",
    }
    assert readable([*words, "n09999999"], words) == (
        "tench",
        "crane (n02012849)",
        "Cardigan, Cardigan Welsh corgi",
        "cardigan",
        "crane (n03126707)",
        "n09999999",
    )


WORDS = st.sampled_from(["crane", "Crane", "crane, bird", "maillot", "maillot, tank suit", "tench"])


@given(st.lists(WORDS, max_size=8))
def test_names_are_unique(given_words):
    words = {f"n{number:08d}": text for number, text in enumerate(given_words)}
    names = readable(list(words), words)
    assert len(set(names)) == len(words)
