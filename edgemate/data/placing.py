"""Which images of a batch a process augments, so that what is drawn does not depend on how the batch is divided."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from edgemate.data.seeding import Purpose, seed_of
from edgemate.distributed.sharding import Place

Given = TypeVar("Given")
Made = TypeVar("Made")

# Of the images that are being augmented in their batch; None: they are all of it.
_place: Place | None = None


@contextmanager
def placed(place: Place | None) -> Iterator[None]:
    """Within it, what is augmented are the images at that place of a batch.

    What crops and flips draw is then what a process with the whole batch would draw for these images. Other transforms
    draw a number of times that depends on the image, so every image gets a seed of its own, by its position in the
    batch: their draws do not depend on how the batch is divided, but are not those for a whole batch.
    """
    global _place
    before, _place = _place, place
    try:
        yield
    finally:
        _place = before


def for_each(given: Sequence[Given], make: Callable[[Given], Made]) -> list[Made]:
    """What `make` gives for every image, one after the other; see `placed`."""
    if _place is None:
        return [make(one) for one in given]
    seed = int(torch.randint(0, 2**62, ()))
    made = []
    for position, one in enumerate(given, _place.start):
        torch.default_generator.manual_seed(seed_of(Purpose.AUGMENTATION, seed, position))
        made.append(make(one))
    torch.default_generator.manual_seed(seed)
    return made


def drawn(n: int, draw: Callable[[int], Tensor]) -> Tensor:
    """What `draw` gives for `n` images at their place in the batch, (n,)."""
    return draw(n) if _place is None else draw(_place.total)[_place.slice]
