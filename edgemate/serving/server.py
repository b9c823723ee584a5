"""The HTTP server: the Open Inference Protocol (KServe v2), and metrics for Prometheus.

aiohttp reads and writes HTTP. One thread runs the network, two others prepare images and read large bodies, and the
event loop does the rest. Whatever a client sends gets a status and one line of JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar
from urllib.parse import unquote

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from edgemate import __version__
from edgemate.errors import BackendError, BundleError, ImageError, UsageError
from edgemate.runtime import AnytimeClassifier, Prediction
from edgemate.serving.answers import answer_body
from edgemate.serving.batching import Batcher
from edgemate.serving.bodies import Bodies
from edgemate.serving.connections import HttpServer, json_error
from edgemate.serving.metrics import Metrics
from edgemate.serving.model import Choice, ServedModel
from edgemate.serving.options import ServeOptions
from edgemate.serving.protocol import OUTPUTS, PIXELS, READY, READY_TYPES, InferRequest, parse_infer
from edgemate.serving.refusal import RefusedError, bad
from edgemate.serving.signals import Stop
from edgemate.wording import shortened

T = TypeVar("T")

JSON_LENGTH = "Inference-Header-Content-Length"
VERSION = "1"
"""Of the model: a bundle is one version."""
_MODEL = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(?:/(ready|infer))?")
_IN_PLACE = 1 << 16
"""Bytes of a body that is read on the event loop; a larger one would keep other requests waiting."""


def serve(
    classifier: AnytimeClassifier,
    options: ServeOptions,
    *,
    ready: Callable[[str, int], None] | None = None,
    report: Callable[[str], None] | None = None,
) -> None:
    """Answer requests until SIGTERM or SIGINT, and then those that were accepted. For the main thread.

    A second signal ends the process at once, with exit code 143 or 130: work that hangs cannot hold it.

    Args:
        classifier: the bundle's, with layout `segments`; stays the caller's to close.
        options: how.
        ready: called with host and port once requests are answered.
        report: called with one line for each request that failed by the server's fault. Where it raises OSError, as a
            log on a full disk does, the line is lost and the request is answered all the same.

    Raises:
        BundleError: an operating point is named and the bundle has none.
        UsageError: there is no such operating point, or nothing can listen at that address.
    """
    asyncio.run(_serve(ServedModel(classifier, options), options, ready, partial(_report, report)))


async def _serve(
    model: ServedModel,
    options: ServeOptions,
    ready: Callable[[str, int], None] | None,
    report: Callable[[str], None],
) -> None:
    model.warm_up()
    service = _Service(model, options, report)
    http = HttpServer(
        service.handle, timeout_s=options.timeout_s, on_error=service.metrics.count_request, report=report
    )
    asyncio.get_running_loop().set_exception_handler(lambda loop, what: report(_fault(what)))
    runner = web.ServerRunner(http, shutdown_timeout=1.0)
    await runner.setup()
    with Stop() as stop:
        try:
            site = web.TCPSite(runner, options.host, options.port)
            try:
                await site.start()
            except ValueError as error:  # of idna, for one
                raise UsageError(
                    f"host: {shortened(options.host)!r} is no address and no name of a machine; 127.0.0.1 is one"
                ) from error
            except OSError as error:
                place = f"{shortened(options.host)}:{options.port}"
                raise UsageError(f"host, port: nothing can listen at {place}: {error.strerror or error}") from error
            if ready is not None:
                ready(*runner.addresses[0][:2])
            await stop.asked.wait()
            await site.stop()
            await service.finish()
        finally:
            await runner.cleanup()
            await service.close()


class _Service:
    """Answers requests to one model."""

    def __init__(self, model: ServedModel, options: ServeOptions, report: Callable[[str], None]) -> None:
        self._model = model
        self._timeout_s = options.timeout_s
        self._report = report
        self._batcher: Batcher[Choice] = Batcher(
            model.run,
            model.reach,
            max_batch=model.max_batch,
            max_wait_ms=options.max_wait_ms,
            max_queue=options.max_queue,
        )
        # Where a deadline stops images too, their exits say nothing about drift.
        watched = model.points if options.deadline_ms is None else {}
        self.metrics = Metrics(len(model.classifier.exits), watched, lambda: self._batcher.images)
        self._helper = ThreadPoolExecutor(2, "edgemate-prepare")
        self._bodies = Bodies(options.timeout_s)
        self._open = 0
        self._stopping = False
        self._idle = asyncio.Event()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The response, which has been sent where its client is slow."""
        self._open += 1
        try:
            response = await self._response(request)
            if self._stopping:
                response.force_close()
            self.metrics.count_request(response.status)
            await _send(request, response)
            return response
        finally:
            self._open -= 1
            if self._stopping and not self._open:
                self._idle.set()

    async def finish(self) -> None:
        """Answer what was accepted, and refuse what comes on connections that are still open."""
        self._stopping = True
        self._batcher.hurry()
        if not self._open:
            return
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._idle.wait(), 2 * self._timeout_s)

    async def close(self) -> None:
        """End the threads."""
        await self._batcher.close()
        await asyncio.to_thread(self._helper.shutdown)

    async def _response(self, request: web.BaseRequest) -> web.Response:
        try:
            return await self._route(request)
        except RefusedError as refusal:
            # What is left of its body is not read.
            return json_error(refusal.status, refusal.message, refusal.headers, last=not request.content.is_eof())
        except ImageError as error:
            return json_error(400, str(error))
        except (BackendError, BundleError) as error:
            self._report(f"an inference failed: {error}")
            return json_error(500, "the network failed; the server's log says how")
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:  # a fault of ours: the client learns nothing of it, and the server goes on
            self._report(f"a request failed: {type(error).__name__}: {error}")
            return json_error(500, "the server failed; its log says how", last=True)

    async def _route(self, request: web.BaseRequest) -> web.Response:
        path = request.rel_url.raw_path
        found = _MODEL.fullmatch(path)
        posted = found is not None and found[3] == "infer"
        known = found is not None or path in ("/v2", "/v2/health/live", "/v2/health/ready", "/metrics")
        if not known:
            raise RefusedError(404, f"no such path: {shortened(path)}")
        allowed = "POST" if posted else "GET"
        if request.method != allowed:
            raise RefusedError(405, f"{path} takes {allowed}", {"Allow": allowed})
        if found is not None:
            self._check_model(unquote(found[1]), found[2])
            if posted:
                return await self._infer(request)
            return _json(self._ready() if found[3] else self._metadata(), 503 if found[3] and self._stopping else 200)
        if path == "/metrics":
            return web.Response(body=self.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})
        if path == "/v2":
            return _json({"name": "edgemate", "version": __version__, "extensions": ["binary_tensor_data"]})
        if path.endswith("live"):
            return _json({"live": True})
        return _json({"ready": not self._stopping}, 503 if self._stopping else 200)

    def _check_model(self, name: str, version: str | None) -> None:
        if name != self._model.name:
            raise RefusedError(404, f"unknown model {shortened(name)!r}; this server has {self._model.name!r}")
        if version not in (None, VERSION):
            raise RefusedError(404, f"unknown version {shortened(version or '')!r} of the model; it has {VERSION!r}")

    def _ready(self) -> dict[str, Any]:
        return {"name": self._model.name, "ready": not self._stopping}

    def _metadata(self) -> dict[str, Any]:
        contract = self._model.classifier.input
        classes = len(self._model.classifier.classes)
        inputs = [(READY, READY_TYPES[contract.dtype], contract.shape(-1)), (PIXELS, "UINT8", (-1, -1, -1, -1))]
        rows = {name: [-1, classes] if name in ("logits", "probabilities") else [-1] for name in OUTPUTS}
        return {
            "name": self._model.name,
            "versions": [VERSION],
            "platform": "edgemate",
            "inputs": [{"name": name, "datatype": kind, "shape": list(shape)} for name, kind, shape in inputs],
            "outputs": [{"name": name, "datatype": kind, "shape": rows[name]} for name, kind in OUTPUTS.items()],
            "parameters": {"policies": list(self._model.points), "max_batch": self._model.max_batch},
        }

    async def _infer(self, request: web.BaseRequest) -> web.Response:
        arrived = time.perf_counter()
        if self._stopping:
            raise RefusedError(503, "the server is stopping", {"Retry-After": "10"})
        length = _json_length(request)
        async with self._bodies.of(request) as body:
            return await self._answer(body, length, arrived)

    async def _answer(self, body: bytearray, length: int | None, arrived: float) -> web.Response:
        model = self._model
        parse = partial(parse_infer, memoryview(body), length, model.classifier.input, model.max_batch)
        asked = parse() if len(body) <= _IN_PLACE else await self._aside(parse)
        choice, deadline_ms = model.choose(asked.policy, asked.deadline_ms)
        due = None if deadline_ms is None else arrived + deadline_ms / 1000
        images = asked.images
        with self._batcher.place(len(images)):
            if not asked.ready:
                images = await self._aside(partial(model.prepare, images))
            predictions = await self._batcher.answer(images, choice, due)
        for number, prediction in enumerate(predictions, start=1):
            if prediction.index is None:
                self._report(f"image {number} of {len(predictions)}: no exit's logits are finite")
                return json_error(500, f"image {number}: the network's logits are not finite")
        response = self._encoded(asked, choice, deadline_ms, predictions)
        ended = time.perf_counter()
        self.metrics.count_answer(
            predictions,
            ended - arrived,
            late=due is not None and ended > due,
            policy=choice.policy,
        )
        return response

    def _encoded(
        self, asked: InferRequest, choice: Choice, deadline_ms: float | None, predictions: list[Prediction]
    ) -> web.Response:
        parameters: dict[str, Any] = {} if choice.policy is None else {"policy": choice.policy}
        if deadline_ms is not None:
            parameters["deadline_ms"] = deadline_ms
        fields: dict[str, Any] = {"model_name": self._model.name, "model_version": VERSION}
        if asked.id is not None:
            fields["id"] = asked.id
        if parameters:
            fields["parameters"] = parameters
        body, json_bytes = answer_body(predictions, asked.outputs, self._model.classifier.temperatures, fields)
        if json_bytes is None:
            return web.Response(body=body, content_type="application/json")
        headers = {JSON_LENGTH: str(json_bytes)}
        return web.Response(body=body, content_type="application/octet-stream", headers=headers)

    async def _aside(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._helper, work)


def _report(report: Callable[[str], None] | None, line: str) -> None:
    if report is not None:
        with contextlib.suppress(OSError):
            report(line)


def _fault(what: dict[str, Any]) -> str:
    """One line for what asyncio would print with a traceback."""
    error = what.get("exception")
    reason = "" if error is None else f": {type(error).__name__}: {shortened(str(error))}"
    return f"a connection failed: {what.get('message')}{reason}"


async def _send(request: web.BaseRequest, response: web.Response) -> None:
    """Send a response that may not fit into the connection's buffer, so that it counts as open until it is sent."""
    if (response.content_length or 0) > _IN_PLACE:  # aiohttp sends others at once
        await response.prepare(request)
        await response.write_eof()


def _json(value: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(status=status, text=json.dumps(value), content_type="application/json")


def _json_length(request: web.BaseRequest) -> int | None:
    given = request.headers.get(JSON_LENGTH)
    if given is None:
        return None
    if not re.fullmatch("[0-9]{1,12}", given):
        raise bad(f"{JSON_LENGTH} is {shortened(given)!r}; it must be a number of bytes")
    return int(given)
