"""What the processes that prepare images need of the system, and what is said where they do not get it.

Batches pass between processes in shared memory, and the handles to it through a socket in the folder of temporary
files. Torch shares a batch in a thread of the worker that only prints what fails, after which the loader waits for
ever. So sockets are tried beforehand, and a batch is put into shared memory by the worker itself.
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
    """Make a socket as a worker will.

    Raises:
        DataError: that fails, as it does where its path would have over 107 bytes.
    """
    if not workers or get_sharing_strategy() != "file_descriptor":  # type: ignore[no-untyped-call]
        return
    try:
        Listener().close()
    except OSError as error:
        raise DataError(
            f"training.workers={workers}: the processes that prepare images cannot pass them on, since no socket can "
            f"be made among the temporary files ({error}); set TMPDIR to a folder that can be written to, with a "
            "short path, or training.workers=0"
        ) from error


def shared(batch: tuple[Tensor, ...] | EdgemateError) -> tuple[Tensor, ...] | EdgemateError:
    """In a worker, the batch in shared memory, or the error to pass on where it does not fit; elsewhere the batch."""
    worker = get_worker_info()
    if worker is None or isinstance(batch, EdgemateError):
        return batch
    try:
        return tuple(tensor.share_memory_() for tensor in batch)  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        size = sum(tensor.nbytes for tensor in batch) / 2**20
        return DataError(
            f"training.workers={worker.num_workers}: a batch of {size:.1f} MiB does not fit into shared memory, "
            f"beside those before it ({_reason(error)}){_in_all()}; {_ADVICE}"
        )


@contextmanager
def translate_worker_errors(workers: int) -> Iterator[None]:
    """Within it, a RuntimeError of torch's about its workers becomes the DataError that `ended` makes of it."""
    try:
        yield
    except RuntimeError as error:
        told = ended(error, workers)
        if told is None:
            raise
        raise told from error


def ended(error: RuntimeError, workers: int) -> DataError | None:
    """The error to raise instead of torch's, where the latter says that a worker was ended or cannot be reached."""
    told = str(error)
    if told.startswith("Too many open files"):
        return DataError(
            f"training.workers={workers}: too many files are open for batches to pass between processes; raise the "
            "limit (ulimit -n), or set training.workers=0"
        )
    if not told.startswith("DataLoader worker (pid"):
        return None
    signal = re.search(r"killed by signal: ([\w ]+)", f"{told} {error.__cause__}")
    how = f" ({signal[1]})" if signal else ""
    reason = f", as happens where memory or shared memory is short{_in_all()}; {_ADVICE}"
    if signal and signal[1] in _SENT_BY_SOMEBODY:
        reason = "; `resume` continues from the last checkpoint"
    return DataError(f"training.workers={workers}: a process that prepares images was ended{how}{reason}")


_SENT_BY_SOMEBODY = ("Terminated", "Interrupt", "Hangup")
_ADVICE = (
    "set training.workers=0 or a smaller optimization.batch_size, or give a container more (docker run --shm-size=1g)"
)


def _in_all() -> str:
    if not _SHARED_MEMORY.is_dir():
        return ""
    return f", of which there are {shutil.disk_usage(_SHARED_MEMORY).total >> 20:,} MiB in all"


def _reason(error: RuntimeError) -> str:
    return str(error).splitlines()[0].rpartition(">: ")[2]
