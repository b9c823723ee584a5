"""What fails within the server is counted and reported, and the client is told no more than it needs."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator

import numpy as np
import pytest
from bundles import golden_images
from scripted_backend import ScriptedBackend
from served import ready_input

from edgemate.bundle import Bundle
from edgemate.errors import BackendError
from edgemate.runtime import AnytimeClassifier

aiohttp = pytest.importorskip("aiohttp")
pytest.importorskip("prometheus_client")

from aiohttp import web  # noqa: E402
from aiohttp.test_utils import RawTestServer, TestClient  # noqa: E402

from edgemate.limits import Limit  # noqa: E402
from edgemate.serving import ServeOptions, connections  # noqa: E402
from edgemate.serving.metrics import Metrics  # noqa: E402
from edgemate.serving.model import ServedModel, offered_points  # noqa: E402
from edgemate.serving.refusal import RefusedError  # noqa: E402
from edgemate.serving.server import _Service  # noqa: E402

SURE, UNSURE, NONE = [9.0, 0.0, 0.0, 0.0], [0.0, 0.1, 0.0, 0.0], [np.nan] * 4


class FailingBackend(ScriptedBackend):
    """Fails where its script ends."""

    def begin(self, images: np.ndarray) -> object:
        backend = self
        remaining: Iterator[np.ndarray] = iter(self.script)

        class Pass:
            def advance(self) -> np.ndarray:
                for logits in remaining:
                    return logits
                raise BackendError("/secret/segment_3.onnx: out of memory")

            def keep(self, kept: np.ndarray) -> None:
                backend.kept.append(kept.tolist())

        return Pass()


def answered(bundle: Bundle, backend: ScriptedBackend, **loading: str) -> tuple[int, dict, str, list[str]]:
    """Status, JSON and metrics after one request to the whole network, and what was reported."""
    reports: list[str] = []
    classifier = AnytimeClassifier(bundle, backend, **loading)

    async def run() -> tuple[int, dict, str]:
        service = _Service(ServedModel(classifier, ServeOptions()), ServeOptions(), reports.append)
        async with TestClient(RawTestServer(service.handle)) as client:
            body = {"inputs": [ready_input(golden_images(1))]}
            async with client.post("/v2/models/small/infer", data=json.dumps(body)) as response:
                found = response.status, json.loads(await response.read())
            async with client.get("/metrics") as response:
                text = await response.text()
        await service.close()
        return (*found, text)

    return (*asyncio.run(run()), reports)


def test_a_segment_that_fails_is_status_500_and_its_reason_stays_here(small_bundle: Bundle) -> None:
    status, body, metrics, reports = answered(small_bundle, FailingBackend([UNSURE], [UNSURE]))
    assert (status, body) == (500, {"error": "the network failed; the server's log says how"})
    assert reports == ["an inference failed: /secret/segment_3.onnx: out of memory"]
    assert 'edgemate_requests_total{code="500"} 1.0' in metrics


def test_a_degraded_answer_is_marked_and_counted(small_bundle: Bundle) -> None:
    status, body, metrics, reports = answered(small_bundle, FailingBackend([UNSURE], [SURE]), on_failure="degrade")
    found = {tensor["name"]: tensor["data"] for tensor in body["outputs"]}
    assert (status, found["exit"], found["degraded"], reports) == (200, [2], [True], [])
    assert "edgemate_degraded_images_total 1.0" in metrics


def test_logits_that_are_no_numbers_are_no_answer(small_bundle: Bundle) -> None:
    status, body, _, reports = answered(small_bundle, ScriptedBackend([UNSURE], [UNSURE], [NONE]))
    assert (status, body) == (500, {"error": "image 1: the network's logits are not finite"})
    assert reports == ["image 1 of 1: no exit's logits are finite"]


def test_drift_is_seen_in_the_metrics(small_bundle: Bundle) -> None:
    points = offered_points(small_bundle, ServeOptions())
    metrics = Metrics(3, points, lambda: 0)
    classifier = AnytimeClassifier(small_bundle, ScriptedBackend([SURE]))
    [first] = classifier.classify(golden_images(1), "fast")
    assert 'edgemate_drift_alerts{policy="full"} 0.0' in metrics.text().decode()
    # Exit 1 answers all, where all were calibrated to go to the last one.
    metrics.count_answer([first] * 200, 0.001, late=False, policy="full")
    lines = metrics.text().decode().splitlines()
    [shown] = [line for line in lines if line.startswith('edgemate_drift_alerts{policy="full"}')]
    assert float(shown.split()[-1]) >= 2


def test_more_connections_than_the_limit_are_refused_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS", Limit(2, "connection", ""))
    codes: list[int] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="here")

    async def run() -> tuple[list[bytes], bytes]:
        runner = web.ServerRunner(connections.HttpServer(handle, timeout_s=30, on_error=codes.append))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        await asyncio.sleep(0.05)
        third, closing = await asyncio.open_connection("127.0.0.1", port)
        refused = await third.read()
        closing.close()
        found = []
        for reader, writer in held:
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            found.append(await reader.read())
            writer.close()
        await runner.cleanup()
        return found, refused

    answers, refused = asyncio.run(run())
    head, _, body = refused.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert json.loads(body) == {"error": "there are 2 connections, which is the limit"}
    assert all(answer.endswith(b"here") for answer in answers)
    assert codes == [503]


@pytest.mark.parametrize("requests", [1, 1000])
@pytest.mark.parametrize("size", [60_000, 8 << 20])
def test_a_client_that_takes_no_answer_loses_its_connection(requests: int, size: int) -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=bytes(size))

    async def run() -> int:
        server = connections.HttpServer(handle, timeout_s=0.5, on_error=lambda status: None)
        runner = web.ServerRunner(server)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with client:
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, runner.addresses[0][:2])
            client.send(requests * b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            for _ in range(100):
                await asyncio.sleep(0.1)
                if not server.connections:
                    break
            found = len(server.connections)
        await runner.cleanup()
        return found

    assert asyncio.run(run()) == 0


def test_a_server_may_let_no_operating_point_be_chosen(small_bundle: Bundle) -> None:
    model = ServedModel(AnytimeClassifier(small_bundle, ScriptedBackend([SURE])), ServeOptions(policies=()))
    with pytest.raises(RefusedError, match="none may be chosen"):
        model.choose("fast", None)
