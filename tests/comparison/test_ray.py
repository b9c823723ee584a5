"""Engine `ray` on a cluster of two nodes, each of one CPU, on this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgemate.comparison import compare, parse_variants
from edgemate.comparison.engines import Reports, ray_cluster
from edgemate.comparison.engines.making import make_engine
from edgemate.comparison.running import Training
from edgemate.errors import UsageError
from edgemate.runs import Run
from recipes import SMALL, small_recipe

pytest.importorskip("ray", reason="Ray is not installed")

# Older versions of Ray leave files open.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

FAST = ["optimization.epochs=1", "data.train_limit=64", "data.augmentation=[]"]
METHODS = "joint_ce,mate"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes. Their processes end with the tests."""
    patched = pytest.MonkeyPatch()
    patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
    patched.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    patched.delenv("RAY_ADDRESS", raising=False)
    folder = tempfile.mkdtemp(prefix="edgemate-")  # short, as the path of a socket must be
    patched.setenv("RAY_TMPDIR", folder)
    (Path(folder) / "ray").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray.cluster_utils import Cluster

        before = ray_processes()
        node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
        cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        cluster.add_node(**node)
        cluster.wait_for_nodes()
    assert len(ray_processes() - before) == 3  # one that knows all nodes, and one on each
    yield cluster
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster.shutdown()
    patched.undo()
    shutil.rmtree(folder, ignore_errors=True)
    deadline = time.monotonic() + 30
    while (left := ray_processes() - before) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left


@pytest.fixture
def address(cluster: Any) -> str:
    return str(cluster.address)


def ray_processes() -> set[int]:
    """Ids of the processes that make a cluster."""
    return {pid for pid, _, command in processes() if command.split()[0].endswith(("/raylet", "/gcs_server"))}


def processes() -> list[tuple[int, int, str]]:
    """Id, parent's id and command line of all processes."""
    command = ["ps", "-e", "-ww", "-o", "pid=", "-o", "ppid=", "-o", "args="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    return [(int(row[0]), int(row[1]), row[2]) for row in rows if len(row) == 3]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return path


def without_times(comparison: Path) -> str:
    """`comparison.json` without what a clock says."""
    tree = json.loads((comparison / "comparison.json").read_text())
    for row in tree["methods"]:
        del row["over_seeds"]["train_seconds"]
        for run in row["runs"]:
            del run["train_seconds"]
    return json.dumps(tree, indent=1)


def layout(comparison: Path) -> set[str]:
    """Paths of all files; the name of a TensorBoard file has the time in it."""
    found = (str(path.relative_to(comparison)) for path in comparison.rglob("*"))
    return {name.partition("events.out.tfevents")[0] for name in found}


@pytest.mark.slow
def test_runs_and_table_are_those_of_the_local_engine(address: str, recipe: Path, tmp_path: Path) -> None:
    variants = parse_variants(METHODS)
    here, there = tmp_path / "here" / "small", tmp_path / "there" / "small"
    compare(recipe, variants, [0, 1], here, overrides=FAST, jobs=2, report=lambda line: None)
    lines: list[str] = []
    compare(
        recipe,
        variants,
        [0, 1],
        there,
        overrides=FAST,
        engine="ray",
        engine_options={"address": address},
        report=lines.append,
    )
    assert sorted(line.split()[0] for line in lines) == ["1/4", "2/4", "3/4", "4/4"]
    assert without_times(there) == without_times(here)
    assert layout(there) == layout(here)
    for name in ("joint_ce-seed0", "joint_ce-seed1", "mate-seed0", "mate-seed1"):
        for file in ("recipe.yaml", "model.safetensors", "metadata.json", "per_class.csv", "confusion.csv"):
            assert (there / name / file).read_bytes() == (here / name / file).read_bytes(), file
    table = [line.rpartition("|")[0].rpartition("|")[0] for line in (here / "comparison.md").read_text().splitlines()]
    assert "mate" in "".join(table)
    assert table == [
        line.rpartition("|")[0].rpartition("|")[0] for line in (there / "comparison.md").read_text().splitlines()
    ]


def prepared(folder: Path, *overrides: str) -> Training:
    """A training of the small recipe."""
    recipe = folder / "one.yaml"
    recipe.write_text(yaml.safe_dump(small_recipe(*overrides).model_dump(mode="json")))
    return Training("one", recipe, folder / "one", folder / "one.log")


def ray_worker_of(training: Training) -> int:
    """Id of Ray's process that started the training's."""
    (parent,) = {
        parent
        for _, parent, command in processes()
        if "edgemate.comparison.worker" in command and str(training.folder) in command
    }
    return parent


@pytest.mark.slow
def test_a_training_whose_worker_is_killed_resumes_from_its_checkpoint(
    address: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    training = prepared(tmp_path, "optimization.epochs=10")
    run = Run(training.folder)
    killed: list[int] = []
    notes: list[str] = []
    epochs: list[int] = []

    def poll(running: object, waiting: int) -> None:
        if not killed and (run.checkpoints_path / "last.ckpt").exists() and not run.finished:
            epochs.append(len(run.history_path.read_text().splitlines()) - 1)
            killed.append(ray_worker_of(training))
            os.kill(killed[0], signal.SIGKILL)

    engine = make_engine("ray", None, small_recipe(), {"address": address})
    with engine:
        engine.check(tmp_path)
        engine.start(tmp_path)
        assert engine.jobs == 2
        assert engine.run([training], Reports(poll=poll, note=notes.append)) == []
    assert killed
    assert notes == [notes[0]]
    assert notes[0].startswith("one: was ended and resumed 1 time")
    assert run.finished
    rows = [line.split(",")[0] for line in run.history_path.read_text().splitlines()[1:]]
    assert rows == [str(epoch) for epoch in range(1, 11)]
    # What was trained before was not trained again: the second process began after those epochs.
    shown = training.log.read_text()
    for epoch in range(1, epochs[0]):
        assert len(re.findall(rf"^epoch +{epoch}/10 ", shown, re.MULTILINE)) == 1
    assert capfd.readouterr() == ("", "")  # Ray's own words about the worker
    assert not (tmp_path / ".nodes").exists()


@pytest.mark.slow
def test_a_training_whose_node_dies_resumes_on_another(cluster: Any, address: str, tmp_path: Path) -> None:
    training = prepared(tmp_path, "optimization.epochs=30", "data.train_limit=128")
    run = Run(training.folder)
    killed: list[int] = []

    def poll(running: object, waiting: int) -> None:
        if not killed and (run.checkpoints_path / "last.ckpt").exists() and not run.finished:
            worker = ray_worker_of(training)
            killed.extend(parent for pid, parent, _ in processes() if pid == worker)  # the node's raylet
            os.kill(killed[0], signal.SIGKILL)

    # Larger ones, so that the training is on one of these and the test on another.
    added = [cluster.add_node(num_cpus=2, object_store_memory=80 * 2**20) for _ in range(2)]
    try:
        with make_engine("ray", None, small_recipe(), {"address": address, "cpus_per_run": 2}) as engine:
            engine.start(tmp_path)
            assert engine.jobs == 2
            notes: list[str] = []
            assert engine.run([training], Reports(poll=poll, note=notes.append)) == []
    finally:
        for node in added:
            cluster.remove_node(node)
    assert len(killed) == 1
    assert notes[0].startswith("one: was ended and resumed 1 time")
    assert run.finished
    rows = [line.split(",")[0] for line in run.history_path.read_text().splitlines()[1:]]
    assert rows == [str(epoch) for epoch in range(1, 31)]


@pytest.mark.slow
def test_a_training_that_fails_is_not_tried_again(address: str, tmp_path: Path) -> None:
    training = prepared(tmp_path)
    training.recipe.write_text(training.recipe.read_text().replace("resnet8", "resnet7"))
    with make_engine("ray", 1, small_recipe(), {"address": address}) as engine:
        engine.start(tmp_path)
        (failure,) = engine.run([training], Reports())
    assert "unknown backbone 'resnet7'" in failure.reason
    assert training.log.read_text().count("error:") == 1


@pytest.mark.slow
def test_what_no_node_has_is_an_error_before_anything_is_trained(address: str, tmp_path: Path) -> None:
    engine = make_engine("ray", None, small_recipe(), {"address": address, "cpus_per_run": 2})
    with engine, pytest.raises(UsageError, match=r"cpus_per_run=2.*the largest have 1 CPUs"):
        engine.start(tmp_path)


def test_an_address_where_nothing_listens_is_one_line(tmp_path: Path) -> None:
    for address, message in (
        ("127.0.0.1:1", "no Ray cluster answers there"),
        ("127.0.0.1", "should be HOST:PORT"),
        ("", "address '': should be HOST:PORT"),  # not a cluster of one's own
        ("nowhere.invalid:1", "address 'nowhere.invalid:1': no Ray cluster answers there"),
        ("ray://127.0.0.1:10001", "should be HOST:PORT"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            make_engine("ray", None, small_recipe(), {"address": address}).check(tmp_path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", None])
def test_what_listens_but_is_no_cluster_is_one_line_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes | None
) -> None:
    monkeypatch.setattr(ray_cluster, "_CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1024)
                if answer is None:  # silent until the other one has gone
                    connection.recv(1024)
                else:
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UsageError, match=f"^address '{address}': no Ray cluster answers there") as caught:
            make_engine("ray", None, small_recipe(), {"address": address}).check(tmp_path)
        assert "\n" not in str(caught.value)
        thread.join(10)


@pytest.mark.slow
def test_a_cluster_that_was_started_for_it_is_ended_and_its_files_are_deleted(recipe: Path, tmp_path: Path) -> None:
    temporary = tmp_path.parent / "t"
    temporary.mkdir(exist_ok=True)
    before = ray_processes()
    command = [sys.executable, "-m", "edgemate", "compare", recipe, "--methods", "joint_ce", "--seeds", "0"]
    command += [part for override in FAST for part in ("--set", override)]
    command += ["--engine", "ray", "--output", tmp_path / "c", "--quiet"]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "ray" not in result.stdout.lower().replace("array", "")
    assert Run(tmp_path / "c" / "joint_ce-seed0").finished
    deadline = time.monotonic() + 30
    while (left := ray_processes() - before) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left
