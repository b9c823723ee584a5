"""What data loader workers need of the system, and clear errors where they lack it.

Batches are passed between processes in shared memory, and their handles through a socket in the folder of temporary
files. Torch shares a batch in a thread of the worker that only prints errors, after which the loader waits forever. So
sockets are checked beforehand, and the worker itself moves a batch into shared memory.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Listener
from pathlib import Path

from torch import Tensor
from torch.multiprocessing import get_sharing_strategy
from torch.utils.data import get_worker_info

from edgemate.errors import DataError, EdgemateError

_SHARED_MEMORY = Path("/dev/shm")


def check_sockets(workers: int) -> None:
    """Check that a worker can open a socket.

    Raises:
        DataError: it cannot, for example because the socket's path would have more than 107 bytes.
    """
    if not workers or get_sharing_strategy() != "file_descriptor":  # type: ignore[no-untyped-call]
        return
    try:
        Listener().close()
    except OSError as error:
        raise DataError(
            f"training.workers={workers}: the workers cannot pass images on, since no socket can be created in the "
            f"folder of temporary files ({error}); set TMPDIR to a writable folder with a short path, or "
            "training.workers=0"
        ) from error


def share_batch(batch: tuple[Tensor, ...] | EdgemateError) -> tuple[Tensor, ...] | EdgemateError:
    """In a worker: the batch in shared memory, or a DataError if it does not fit. Elsewhere: the batch unchanged."""
    worker = get_worker_info()
    if worker is None or isinstance(batch, EdgemateError):
        return batch
    try:
        return tuple(tensor.share_memory_() for tensor in batch)  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        size = sum(tensor.nbytes for tensor in batch) / 2**20
        return DataError(
            f"training.workers={worker.num_workers}: a batch of {size:.1f} MiB does not fit into shared memory, "
            f"in addition to earlier ones ({_reason(error)}){_shared_memory_size()}; {_ADVICE}"
        )


@contextmanager
def translate_worker_errors(workers: int) -> Iterator[None]:
    """Raise the DataError of `worker_error` in place of torch's RuntimeError about its workers."""
    try:
        yield
    except RuntimeError as error:
        translated = worker_error(error, workers)
        if translated is None:
            raise
        raise translated from error


def worker_error(error: RuntimeError, workers: int) -> DataError | None:
    """The error to raise instead of torch's if a worker was killed or cannot be reached; None for other errors."""
    message = str(error)
    if message.startswith("Too many open files"):
        return DataError(
            f"training.workers={workers}: too many open files to pass batches between processes; raise the "
            "limit (ulimit -n), or set training.workers=0"
        )
    if not message.startswith("DataLoader worker (pid"):
        return None
    signal = re.search(r"killed by signal: ([\w ]+)", f"{message} {error.__cause__}")
    how = f" ({signal[1]})" if signal else ""
    reason = f", as happens when memory or shared memory runs out{_shared_memory_size()}; {_ADVICE}"
    if signal and signal[1] in _SENT_BY_USER:
        reason = "; resume the run to continue from its last checkpoint"
    return DataError(f"training.workers={workers}: a worker was killed{how}{reason}")


_SENT_BY_USER = ("Terminated", "Interrupt", "Hangup")
_ADVICE = (
    "set training.workers=0 or a smaller optimization.batch_size, or give a container more shared memory "
    "(docker run --shm-size=1g)"
)


def _shared_memory_size() -> str:
    if not _SHARED_MEMORY.is_dir():
        return ""
    return f", of {shutil.disk_usage(_SHARED_MEMORY).total >> 20:,} MiB in total"


def _reason(error: RuntimeError) -> str:
    return str(error).splitlines()[0].rpartition(">: ")[2]
