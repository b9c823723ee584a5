"""`data.sampling: balanced`: as many images of every class in an epoch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgemate.data.seeding import Purpose, permutation

Indices = npt.NDArray[np.int64]


def balanced_order(labels: Indices, seed: int, epoch: int) -> Indices:
    """Positions of an epoch's images, int64 (N,), in random order; a pure function of its arguments.

    Every class that occurs has ⌊N/C⌋ or ⌈N/C⌉ of them. Within a class all images occur equally often, or differ by one.

    Args:
        labels: of all N images, int64 (N,).
        seed: not negative.
        epoch: counted from 0.
    """
    n, classes = len(labels), np.unique(labels)
    share, rest = divmod(n, len(classes))
    with_one_more = set(permutation(len(classes), Purpose.BALANCE, seed, epoch)[:rest].tolist())
    chosen: list[Indices] = []
    for rank, label in enumerate(classes):
        members = np.flatnonzero(labels == label).astype(np.int64)
        count = share + (rank in with_one_more)
        laps = range(-(-count // len(members)))
        orders = [members[permutation(len(members), Purpose.BALANCE, seed, epoch, 1 + rank, lap)] for lap in laps]
        chosen.append(np.concatenate([*orders, members[:0]])[:count])
    return np.concatenate(chosen)[permutation(n, Purpose.ORDER, seed, epoch)]
