"""Rows of a tensor that is divided over processes, fetched from those that hold them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor

from edgemate.distributed.sharding import Sharding

Indices = npt.NDArray[np.int64]


def fetch_rows(own: Tensor, total: int, rank: int, wanted: Sequence[Indices]) -> Tensor:
    """The rows that this process wants, in that order, (n, ...). All processes call this at the same time.

    They all know what each of them wants, so only rows are sent, in one transfer.

    Args:
        own: rows of this process, those of `Sharding.of_split(total)`: (m, ...), on the device that the process
            group works on.
        total: rows of all processes.
        rank: of this process.
        wanted: what every process wants, by its rank: indices into all rows, int64 (n,) each. Equal everywhere.
    """
    held = [Sharding(other, len(wanted)).of_split(total) for other in range(len(wanted))]
    owners = np.searchsorted([place.stop for place in held], wanted[rank], side="right")
    positions = [np.flatnonzero(owners == other) for other in range(len(wanted))]
    mine = held[rank]
    asked = [rows[(rows >= mine.start) & (rows < mine.stop)] - mine.start for rows in wanted]
    received = own.new_empty((len(wanted[rank]), *own.shape[1:]))
    dist.all_to_all_single(
        received, own[_there(np.concatenate(asked), own)], [len(one) for one in positions], [len(one) for one in asked]
    )
    # Row i that came belongs at position order[i].
    order = np.concatenate(positions)
    return received[_there(np.argsort(order), own)]


def _there(indices: Indices, own: Tensor) -> Tensor:
    return torch.from_numpy(indices).to(own.device)
