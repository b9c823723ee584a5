"""A server answers as the classifier does, in every form of the protocol."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import Served, binary_request, ready_input, serving

from edgemate.bundle import Bundle
from edgemate.errors import EdgemateError
from edgemate.runtime import AnytimeClassifier, Prediction

INFER = "/v2/models/small/infer"


@pytest.fixture(scope="module")
def images(small_bundle: Bundle) -> np.ndarray:
    return small_bundle.golden().images[:8]


@pytest.fixture(scope="module")
def classifier(small_bundle: Bundle) -> Any:
    with AnytimeClassifier.load(small_bundle, threads=1) as loaded:
        yield loaded


def outputs_of(answer: dict[str, Any]) -> dict[str, Any]:
    return {tensor["name"]: tensor["data"] for tensor in answer["outputs"]}


def assert_same(found: dict[str, Any], expected: list[Prediction]) -> None:
    assert found["label"] == [prediction.label for prediction in expected]
    assert found["index"] == [prediction.index for prediction in expected]
    assert found["exit"] == [prediction.exit for prediction in expected]
    np.testing.assert_allclose(found["probability"], [prediction.probability for prediction in expected], rtol=1e-6)
    logits = np.reshape(np.array(found["logits"], np.float32), (len(expected), -1))
    np.testing.assert_array_equal(logits, np.stack([prediction.logits for prediction in expected]))
    probabilities = np.reshape(found["probabilities"], logits.shape)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(probabilities.max(axis=1), found["probability"], rtol=1e-5)


def test_it_says_what_it_is(server: Served, small_bundle: Bundle) -> None:
    def told(path: str) -> Any:
        status, body, _ = server.ask("GET", path)
        assert status == 200
        return json.loads(body)

    assert told("/v2/health/live") == {"live": True}
    assert told("/v2/health/ready") == {"ready": True}
    assert told("/v2")["extensions"] == ["binary_tensor_data"]
    assert told("/v2/models/small/ready") == {"name": "small", "ready": True}
    model = told("/v2/models/small/versions/1")
    assert [(one["name"], one["datatype"], one["shape"]) for one in model["inputs"]] == [
        ("image", "FP32", [-1, 3, 8, 8]),
        ("pixels", "UINT8", [-1, -1, -1, -1]),
    ]
    assert {one["name"] for one in model["outputs"]} >= {"logits", "probabilities", "label", "exit", "ms"}
    assert set(model["parameters"]["policies"]) == {"fast", "balanced", "accurate", "full"}


@pytest.mark.parametrize("policy", [None, "fast", "full"])
def test_ready_images_are_answered_as_the_classifier_answers(
    server: Served, classifier: AnytimeClassifier, images: np.ndarray, policy: str | None
) -> None:
    body = {"id": "7", "inputs": [ready_input(images)]}
    if policy is not None:
        body["parameters"] = {"policy": policy}
    status, answer = server.infer(body)
    assert (status, answer["id"], answer["parameters"]) == (200, "7", {"policy": policy or "balanced"})
    assert_same(outputs_of(answer), classifier.classify(images, policy or "balanced"))


def test_nested_lists_are_the_same_as_flat_ones(server: Served, images: np.ndarray) -> None:
    flat, nested = ready_input(images[:2]), {**ready_input(images[:2]), "data": images[:2].tolist()}
    asked = [{"name": "logits"}]
    answers = [server.infer({"inputs": [tensor], "outputs": asked})[1]["outputs"] for tensor in (flat, nested)]
    assert answers[0] == answers[1]
    assert [tensor["name"] for tensor in answers[0]] == ["logits"]


def test_tensors_are_taken_and_given_in_binary(
    server: Served, classifier: AnytimeClassifier, images: np.ndarray
) -> None:
    expected = classifier.classify(images[:3], "balanced")
    body, headers = binary_request(
        images[:3],
        "image",
        "FP32",
        parameters={"binary_data_output": True},
        outputs=[{"name": "logits"}, {"name": "exit", "parameters": {"binary_data": False}}, {"name": "label"}],
    )
    status, content, told = server.ask("POST", INFER, body, headers)
    assert status == 200
    length = int(told["Inference-Header-Content-Length"])
    answer = json.loads(content[:length])
    sizes = [tensor.get("parameters", {}).get("binary_data_size") for tensor in answer["outputs"]]
    assert answer["outputs"][1]["data"] == [prediction.exit for prediction in expected]
    logits = np.frombuffer(content[length : length + sizes[0]], np.float32).reshape(3, -1)
    np.testing.assert_array_equal(logits, np.stack([prediction.logits for prediction in expected]))
    labels, rest = [], content[length + sizes[0] :]
    assert len(rest) == sizes[2]
    while rest:
        [size] = struct.unpack("<I", rest[:4])
        labels.append(rest[4 : 4 + size].decode())
        rest = rest[4 + size :]
    assert labels == [prediction.label for prediction in expected]


@pytest.mark.parametrize("shape", [(2, 20, 12, 3), (1, 8, 8, 1), (1, 9, 30, 4)])
def test_pixels_are_prepared_as_the_classifier_prepares_them(
    server: Served, classifier: AnytimeClassifier, shape: tuple[int, ...]
) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
    expected = classifier.classify(list(pixels), "balanced")
    body, headers = binary_request(pixels, "pixels", "UINT8")
    in_lists = {"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": list(shape), "data": pixels.tolist()}]}
    for status, answer in (server.infer(body, headers), server.infer(in_lists)):
        assert status == 200
        assert_same(outputs_of(answer), expected)


def test_metrics_count_what_was_answered(server: Served, images: np.ndarray) -> None:
    def counted() -> dict[str, float]:
        _, body, _ = server.ask("GET", "/metrics")
        rows = [line.rpartition(" ") for line in body.decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in rows}

    before = counted()
    _, answer = server.infer({"inputs": [ready_input(images)]})
    server.infer({"inputs": []})
    after = counted()

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    exits = outputs_of(answer)["exit"]
    assert [grown(f'edgemate_images_total{{exit="{exit}"}}') for exit in (1, 2, 3)] == [
        exits.count(exit) for exit in (1, 2, 3)
    ]
    assert grown('edgemate_requests_total{code="400"}') == 1
    assert grown("edgemate_request_seconds_count") == 1
    assert after["edgemate_queue_images"] == 0
    assert {'edgemate_drift_alerts{policy="balanced"}', "edgemate_degraded_images_total"} <= set(after)


def test_a_full_queue_refuses_and_what_was_accepted_is_answered_after_the_signal(
    small_bundle: Bundle, images: np.ndarray
) -> None:
    pytest.importorskip("aiohttp")
    options = (
        "--max-batch",
        8,
        "--max-queue",
        8,
        "--max-wait-ms",
        60_000,
        "--policies",
        "full",
        "--deadline-ms",
        60_000,
    )
    with serving(small_bundle.path, *options) as served:
        status, answer = served.infer({"inputs": [ready_input(images)], "parameters": {"policy": "fast"}})
        assert (status, "full" in answer["error"]) == (400, True)
        answers: list[Any] = []
        waiting = [
            threading.Thread(target=lambda n=n: answers.append(served.infer({"inputs": [ready_input(images[:n])]})))
            for n in (4, 3)
        ]
        for thread in waiting:
            thread.start()
        while b"edgemate_queue_images 7.0" not in served.ask("GET", "/metrics")[1]:
            assert len(answers) == 0
        status, body, headers = served.ask("POST", INFER, {"inputs": [ready_input(images[:2])]})
        assert (status, int(headers["Retry-After"]) >= 1) == (503, True)
        assert "limit is 8" in json.loads(body)["error"]
        assert served.end() == 0
        for thread in waiting:
            thread.join()
        assert [status for status, _ in answers] == [200, 200]
        assert sorted(len(outputs_of(answer)["exit"]) for _, answer in answers) == [3, 4]
        assert served.stderr == ""


def test_a_deadline_is_chosen_within_that_of_the_server(small_bundle: Bundle, images: np.ndarray) -> None:
    pytest.importorskip("aiohttp")
    with serving(small_bundle.path, "--deadline-ms", 30_000, "--max-wait-ms", 0) as served:
        body = {"inputs": [ready_input(images[:2])]}
        status, answer = served.infer(body)
        assert (status, outputs_of(answer)["exit"]) == (200, [3, 3])
        status, answer = served.infer({**body, "parameters": {"deadline_ms": 0.001}})
        assert (status, outputs_of(answer)["exit"]) == (200, [1, 1])  # late, and answered all the same
        status, answer = served.infer({**body, "parameters": {"deadline_ms": 30_001}})
        assert (status, "at most 30000" in answer["error"]) == (400, True)
        metrics = served.ask("GET", "/metrics")[1]
        assert b"edgemate_late_images_total 2.0" in metrics
        assert b"edgemate_drift_alerts{" not in metrics  # a deadline moves images to other exits by itself


def test_a_short_deadline_of_one_client_does_not_cut_the_answer_of_another_short(
    small_bundle: Bundle, images: np.ndarray
) -> None:
    pytest.importorskip("aiohttp")
    with serving(small_bundle.path, "--deadline-ms", 30_000, "--max-wait-ms", 500) as served:
        body = {"inputs": [ready_input(images[:1])]}
        answers: list[Any] = []
        patient = threading.Thread(target=lambda: answers.append(served.infer(body)))
        patient.start()
        while b"edgemate_queue_images 1.0" not in served.ask("GET", "/metrics")[1]:
            assert answers == []
        status, answer = served.infer({**body, "parameters": {"deadline_ms": 0.001}})
        assert (status, outputs_of(answer)["exit"]) == (200, [1])
        patient.join()
        [(status, answer)] = answers
        assert (status, outputs_of(answer)["exit"]) == (200, [3])


def serving_words(bundle: Bundle, folder: Path, *instead: str) -> list[str]:
    """A command that serves the bundle, with these lines in place of running its network."""
    script = folder / "serve.py"
    script.write_text(
        "import sys, threading\n"
        "from edgemate.cli.start import main\n"
        "from edgemate.errors import BackendError\n"
        "from edgemate.serving.model import ServedModel\n"
        "def run(*given):\n" + "".join(f"    {line}\n" for line in instead) + "ServedModel.run = run\n"
        "sys.exit(main())\n"
    )
    return [sys.executable, str(script), "serve", str(bundle.path), "--port", "0", "--threads", "1"]


def test_a_second_signal_ends_a_server_whose_network_hangs(small_bundle: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    words = serving_words(small_bundle, tmp_path, "print('runs', flush=True)", "threading.Event().wait()")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        with contextlib.closing(connection):
            pixels = {"name": "pixels", "datatype": "UINT8", "shape": [1, 1, 1, 1], "data": [0]}
            connection.request("POST", INFER, json.dumps({"inputs": [pixels]}).encode())
            assert process.stdout.readline() == "runs\n"
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):  # it waits for the answer
                process.wait(0.3)
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 143


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_request_that_fails_is_answered_also_where_the_log_is_full(small_bundle: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    words = serving_words(small_bundle, tmp_path, "raise BackendError('out of memory')")
    with (
        Path("/dev/full").open("w") as full,
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=full, text=True) as process,
    ):
        assert process.stdout is not None
        served = Served(process, int(process.stdout.readline().rpartition(":")[2]))
        pixels = {"name": "pixels", "datatype": "UINT8", "shape": [1, 1, 1, 1], "data": [0]}
        try:
            assert [served.infer({"inputs": [pixels]})[0] for _ in range(2)] == [500, 500]
        finally:
            process.kill()


def test_what_cannot_be_served_is_one_line(small_bundle: Bundle, server: Served, tmp_path: Path) -> None:
    from commands import invoke

    from edgemate.cli.serve import serve

    for options, message in (
        (("--policy", "fst"), "unknown operating point 'fst'; did you mean 'fast'?"),
        (("--policies", "fast,nope"), "unknown operating point 'nope'"),
        (("--port", 70000), "port: must be from 0 to 65535"),
        (("--port", server.port), "nothing can listen at 127.0.0.1"),
        (("--deadline-ms", -1), "deadline_ms: must be above 0"),
        (("--max-batch", 0), "max_batch: must be from 1"),
        (("--max-queue", 2), "max_queue: must be from max_batch"),
        (("--timeout-s", 0), "timeout_s: must be above 0"),
        (("--host", "."), "host: '.' is no address"),
        (("--host", "a..b"), "host: 'a..b' is no address"),
        (("--host", "a" * 300), "is no address"),
        (("--host", ""), "host: must not be empty"),
        (("--policies", ""), "policies: names no operating point"),
        (("--policies", ","), "policies: names no operating point"),
    ):
        found = invoke(serve, small_bundle.path, "--threads", 1, *options)
        assert found.exit_code == 1
        assert isinstance(found.exception, EdgemateError)  # which is one line and exit code 2
        assert message in str(found.exception)
