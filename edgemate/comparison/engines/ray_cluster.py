"""Engine `ray`: tasks of Ray Core (Moritz et al., arXiv 1712.05889), on a running cluster or one started here."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import shutil
import socket
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from edgemate import plug_ins
from edgemate.comparison.engines.engine import Engine, Reports
from edgemate.comparison.engines.ray_nodes import check_nodes
from edgemate.comparison.engines.ray_task import KilledError, Task, attempts_file, train_here
from edgemate.comparison.running import DIVERGED, Failure, Training, threads_set
from edgemate.errors import UsageError
from edgemate.machine import usable_cores
from edgemate.wording import counted

_POLL_SECONDS = 0.2
_HTTP2_SETTINGS = b"\x04"
_HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + _HTTP2_SETTINGS + b"\0" * 5
_CONNECT_SECONDS = 5.0
_LONGEST_SOCKET_FOLDER = 30
"""Characters; a socket's path has at most 107, of which Ray adds about 75."""

# Nothing is sent anywhere, and Ray leaves CUDA_VISIBLE_DEVICES alone where no GPU was asked for: the task sets it.
_VARIABLES = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
_PASSED_ON = ("EDGEMATE_", "CUBLAS_WORKSPACE_CONFIG", "ONEDNN_", "DNNL_")
"""Prefixes of environment variables that a training on another node gets from here."""


class RayCluster(Engine):
    """Ray tasks, each with a request for CPUs and GPUs.

    A training whose worker or node ended is started again, on any node, and resumes from its checkpoint. The folder of
    the comparison must be at the same path on all nodes.

    Args:
        jobs: largest number of trainings at the same time; None: as many as the cluster has resources for.
        gpus: the recipe allows trainings to use GPUs.
        address: HOST:PORT of a running cluster, or "auto" for the one on this machine; $RAY_ADDRESS if absent, and
            without either a cluster of this machine's cores and GPUs is started, and ended afterwards.
        cpus_per_run: CPUs that a training reserves, and its threads; $OMP_NUM_THREADS if absent, else 1.
        gpus_per_run: GPUs that a training reserves, which may be a fraction; if absent, 1 where the cluster has any
            and the recipe allows them, else 0.
        retries: how often a training whose worker or node ended is started again.
    """

    def __init__(
        self,
        jobs: int | None,
        gpus: bool,
        *,
        address: str | None = None,
        cpus_per_run: Annotated[int, Field(ge=1)] | None = None,
        gpus_per_run: Annotated[float, Field(ge=0)] | None = None,
        retries: Annotated[int, Field(ge=0)] = 3,
    ) -> None:
        self.jobs, self.threads = jobs or 1, cpus_per_run or threads_set() or 1
        self._given, self._may_use_gpus = jobs, gpus
        # An empty address that was given is a mistake, such as a variable of the shell that is not set.
        self._address = address if address is not None else os.environ.get("RAY_ADDRESS") or None
        self._gpus_each, self._retries = gpus_per_run, retries
        self._folder: Path | None = None
        self._ours = False
        self._token = ""
        self._silenced = ExitStack()

    def check(self, output: Path) -> None:
        """Whether Ray is installed and something listens at the address."""
        if importlib.util.find_spec("ray") is None:
            raise UsageError("engine ray: Ray is not installed; pip install 'edgemate[cluster]'")
        if self._address is not None and self._address != "auto":
            _check_address(self._address)

    def start(self, output: Path) -> None:
        """Join the cluster or start one, and check that its nodes see the folder of the comparison."""
        os.environ.update({key: value for key, value in _VARIABLES.items() if key not in os.environ})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray = _library()
            if not ray.is_initialized():
                self._silenced.enter_context(_silent_errors())
                self._connect(ray)
            nodes = [node for node in ray.nodes() if node["Alive"]]
            if self._gpus_each is None:
                self._gpus_each = float(self._may_use_gpus and any(node["Resources"].get("GPU") for node in nodes))
            fitting = self._fitting(nodes)
            self._token = check_nodes(ray, [node["NodeID"] for node in fitting], output)
        self.jobs = min(self._given or 10**9, sum(map(self._capacity, fitting)))

    def stop(self) -> None:
        """Leave the cluster; end it if it was started here. What still runs there ends too."""
        if self._ours:
            _library().shutdown()
            self._ours = False
        self._silenced.close()
        if self._token:
            shutil.rmtree(Path(self._token).parent, ignore_errors=True)
            self._token = ""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def run(self, trainings: Sequence[Training], reports: Reports) -> list[Failure]:
        """Submit them. Those that are running are ended if this is interrupted."""
        ray = _library()
        train = ray.remote(
            num_cpus=self.threads,
            num_gpus=self._gpus_each,
            max_retries=self._retries,
            retry_exceptions=[KilledError],
        )(train_here)
        waiting, failures = list(trainings), list[Failure]()
        pending: dict[Any, Training] = {}
        try:
            while waiting or pending:
                while waiting and (self._given is None or len(pending) < self._given):
                    training = waiting.pop(0)
                    pending[train.options(name=training.name).remote(self._task(training))] = training
                done, _ = ray.wait(list(pending), num_returns=1, timeout=_POLL_SECONDS)
                for reference in done:
                    self._end(ray, pending.pop(reference), reference, reports, failures)
                running = [training for training in pending.values() if attempts_file(self._token, training).exists()]
                reports.poll(running, len(waiting) + len(pending) - len(running))
        finally:
            for reference in pending:
                ray.cancel(reference, force=True)
        return failures

    def _end(self, ray: Any, training: Training, reference: Any, reports: Reports, failures: list[Failure]) -> None:
        try:
            outcome = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            failures.append(Failure(training, " ".join(str(error.cause).split())[:300]))
        except ray.exceptions.RayError as error:
            reason = " ".join(str(error).split())[:300]
            failures.append(Failure(training, f"its worker or node ended {self._retries + 1} times: {reason}"))
        else:
            if outcome.attempts > 1:
                again = counted(outcome.attempts - 1, "time")
                reports.note(f"{training.name}: was ended and resumed {again}, the last time on {outcome.host}")
            if outcome.code == 0:
                reports.finished(training, outcome.seconds)
            else:
                reason = outcome.problem or training.last_log_line()
                failures.append(Failure(training, reason, outcome.code == DIVERGED))

    def _task(self, training: Training) -> Task:
        absolute = Training(
            training.name, training.recipe.absolute(), training.folder.absolute(), training.log.absolute()
        )
        variables = {key: value for key, value in os.environ.items() if key.startswith(_PASSED_ON)}
        folders = tuple(folder.absolute() for folder in plug_ins.searched())
        return Task(absolute, self.threads, bool(self._gpus_each), variables, folders, Path.cwd(), self._token)

    def _connect(self, ray: Any) -> None:
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
        if self._address is not None:
            try:
                ray.init(address=self._address, **quiet)
            except Exception as error:  # Ray raises several kinds
                reason = " ".join(str(error).split())[:300]
                raise UsageError(f"engine ray: the cluster at {self._address} cannot be joined: {reason}") from error
        else:
            # Ray leaves its files in /tmp/ray. These are deleted again, unless their path is too long for a socket.
            folder = Path(tempfile.mkdtemp(prefix="edgemate-"))
            self._folder = folder
            place = {"_temp_dir": str(folder)} if len(str(folder)) <= _LONGEST_SOCKET_FOLDER else {}
            ray.init(address="local", num_cpus=usable_cores(), include_dashboard=False, **place, **quiet)
        self._ours = True

    def _fitting(self, nodes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The nodes that a training fits on; it is an error if there is none."""
        fitting = [node for node in nodes if self._capacity(node)]
        if not fitting:
            cpus, gpus = (max((node["Resources"].get(kind, 0) for node in nodes), default=0) for kind in ("CPU", "GPU"))
            raise UsageError(
                f"engine ray: a run asks for cpus_per_run={self.threads}, gpus_per_run={self._gpus_each:g}, and no "
                f"node has them; the largest have {cpus:g} CPUs and {gpus:g} GPUs"
            )
        return fitting

    def _capacity(self, node: dict[str, Any]) -> int:
        """How many trainings a node takes at a time."""
        by_cpu = int(node["Resources"].get("CPU", 0) // self.threads)
        each = self._gpus_each or 0
        return min(by_cpu, int(node["Resources"].get("GPU", 0) // each)) if each else by_cpu


def _library() -> Any:
    """Ray, whose stubs are too narrow for what it accepts."""
    return importlib.import_module("ray")


@contextmanager
def _silent_errors() -> Iterator[None]:
    """Keep what Ray reports of workers that end off standard output, which has the result; there is no switch for it.

    What matters of it becomes a note or the reason of a failure.
    """
    worker = importlib.import_module("ray._private.worker")
    printing = getattr(worker, "print_to_stdstream", None)
    if printing is None:
        yield
        return
    worker.print_to_stdstream = lambda *_, **__: None  # type: ignore[attr-defined]
    try:
        yield
    finally:
        worker.print_to_stdstream = printing  # type: ignore[attr-defined]


def _check_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not (port.isascii() and port.isdecimal()):
        raise UsageError(f"address {address!r}: should be HOST:PORT, as `ray start --head` prints it, or auto")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS) as connection:
            _check_protocol(connection)
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"address {address!r}: no Ray cluster answers there ({error}); `ray start --head` prints its address"
        ) from error


def _check_protocol(connection: socket.socket) -> None:
    """OSError if what listens there does not speak HTTP/2, as gRPC does: Ray itself would wait for minutes."""
    if os.environ.get("RAY_USE_TLS") in ("1", "true"):
        return
    connection.sendall(_HTTP2_GREETING)
    # A frame: 3 bytes of length, then its type.
    answer = b""
    while len(answer) < 4 and (more := connection.recv(4 - len(answer))):
        answer += more
    if answer[3:] != _HTTP2_SETTINGS:
        raise OSError("something else listens")
