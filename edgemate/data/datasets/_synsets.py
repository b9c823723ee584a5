"""Readable class names for WordNet's synset ids, such as n01440764, which ImageNet's class folders are named by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence


def readable(ids: Sequence[str], words: Mapping[str, str]) -> tuple[str, ...]:
    """A unique name for every class.

    The name is the first word of the synset. Where several classes share it, whatever their case (ImageNet has a dog
    and a jacket called cardigan), it is all of the synset's words, and where these are the same, too (two cranes), the
    id is added.

    Args:
        ids: synset ids of the classes.
        words: id → the synset's words, separated by commas. An id without an entry is its own name.
    """
    everything = [words.get(key) or key for key in ids]
    first = [one.split(",")[0].strip() for one in everything]
    names = [whole if count > 1 else short for short, whole, count in zip(first, everything, _uses(first), strict=True)]
    return tuple(
        f"{short} ({key})" if count > 1 else name
        for key, short, name, count in zip(ids, first, names, _uses(names), strict=True)
    )


def _uses(names: Sequence[str]) -> list[int]:
    """How often each name occurs, whatever its case."""
    counts = Counter(name.lower() for name in names)
    return [counts[name.lower()] for name in names]
