from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_data import array_source, input_spec

from edgemate.data.loaders import ImageLoader, evaluation_loader
from edgemate.data.source import Images
from edgemate.data.transforms import EvaluationTransform
from edgemate.data.workers import worker_error
from edgemate.errors import DataError

# Python 3.12 and later say so wherever a worker is forked beside torch's own threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

SOURCE = array_source(n=40)
TRANSFORM = EvaluationTransform(input_spec(SOURCE))


def loader_of(transform: Callable[[Images, np.ndarray], torch.Tensor] = TRANSFORM, workers: int = 1) -> ImageLoader:
    return evaluation_loader(SOURCE.test, np.arange(40), transform, batch_size=16, workers=workers)


def assert_refused(loader: ImageLoader, message: str) -> None:
    with pytest.raises(DataError, match=f"^training.workers=1: {message}.* training.workers=0") as caught:
        list(loader)
    assert "\n" not in str(caught.value)


def test_a_temporary_folder_without_sockets_is_refused_before_any_worker_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("long" * 20) / ("path" * 20)
    deep.mkdir(parents=True)
    # Where Python has made such a folder for its processes, it keeps to that one.
    monkeypatch.setitem(multiprocessing.current_process()._config, "tempdir", str(deep))
    assert_refused(
        loader_of(), r"the workers cannot pass images on.* \(AF_UNIX path too long\); set TMPDIR to a writable folder"
    )
    assert not multiprocessing.active_children()
    assert len(list(loader_of(workers=0))) == 3


def test_a_batch_that_does_not_fit_into_shared_memory_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(
            "unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device (28)\nmore"
        )

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    assert_refused(loader_of(), r"a batch of 0.0 MiB does not fit .* \(No space left on device \(28\)\)")
    assert not multiprocessing.active_children()
    assert len(list(loader_of(workers=0))) == 3


def test_a_worker_that_is_killed_is_an_error() -> None:
    def dies(images: Images, indices: np.ndarray) -> torch.Tensor:
        if 16 in indices:
            os.kill(os.getpid(), signal.SIGKILL)
        return TRANSFORM(images, indices)

    # Torch names the signal unless the loader notices first that the worker is gone.
    assert_refused(loader_of(dies), r"a worker was killed( \(Killed\)|, as happens when memory or shared memory)")


def test_only_batches_of_workers_are_in_shared_memory() -> None:
    assert all(tensor.is_shared() for batch in loader_of() for tensor in batch)
    assert not any(tensor.is_shared() for batch in loader_of(workers=0) for tensor in batch)


def test_only_errors_about_workers_are_translated() -> None:
    files = worker_error(RuntimeError("Too many open files. Communication with the workers is no longer possible."), 3)
    assert str(files).startswith("training.workers=3: too many open files")
    assert worker_error(RuntimeError("shapes differ"), 3) is None
    wanted = worker_error(RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated. "), 3)
    assert "memory" not in str(wanted)
    assert "resume the run" in str(wanted)
