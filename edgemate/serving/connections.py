"""Connections: how many there may be, and how one ends that does not speak HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http import HttpProcessingError

from edgemate.limits import CONNECTIONS
from edgemate.wording import shortened

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
_CLIENT_FAULTS = (ConnectionError, web.RequestPayloadError, web.PayloadAccessError, HttpProcessingError)


def close_unread(request: web.BaseRequest) -> None:
    """Let what is left of a request's body be unread: its connection ends with the answer."""
    if isinstance(request.protocol, _Connection):
        request.protocol.read_no_more()


def json_error(status: int, message: str, headers: dict[str, str] | None = None, *, last: bool = False) -> web.Response:
    """One line of JSON. `last` closes the connection after it."""
    line = " ".join(message.split())
    response = web.Response(
        status=status, text=json.dumps({"error": line}), content_type="application/json", headers=headers
    )
    if last:
        response.force_close()
    return response


class HttpServer(web.Server):
    """aiohttp's server, with a limit on connections and errors of one line.

    Args:
        handler: of requests.
        timeout_s: seconds that a connection may take to send a request's head, the first or the next, and to take an
            answer.
        on_error: called with the status of an answer to what is no HTTP request.
        report: called with one line for what fails by the server's fault.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        timeout_s: float,
        on_error: Callable[[int], None],
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        super().__init__(handler)
        self.on_error = on_error
        self.report = report
        self.timeout_s = timeout_s

    def __call__(self) -> web.RequestHandler:
        """The protocol of one connection."""
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=self.timeout_s,
            lingering_time=min(self.timeout_s, 2.0),  # to read what is left of a refused body
            access_log=None,
            auto_decompress=False,  # which the event loop would do, also with a body that is refused
        )


class _Connection(web.RequestHandler):
    def __init__(self, server: HttpServer, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._untaken: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if isinstance(transport, asyncio.Transport):
            transport.set_write_buffer_limits(high=0)  # so that writing pauses where anything is not taken
        if len(self._server.connections) > CONNECTIONS.most and isinstance(transport, asyncio.Transport):
            self._server.on_error(503)
            body = json.dumps({"error": f"there are {CONNECTIONS.most} connections, which is the limit"}).encode()
            transport.write(
                b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
                b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            self.force_close()

    def pause_writing(self) -> None:
        """What was written is more than the client takes. One that never takes it would hold its place forever."""
        super().pause_writing()
        if self.transport is not None:
            self._untaken = asyncio.get_running_loop().call_later(self._server.timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It was taken."""
        super().resume_writing()
        self._forget_untaken()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget what was not taken."""
        self._forget_untaken()
        super().connection_lost(exc)

    def _forget_untaken(self) -> None:
        if self._untaken is not None:
            self._untaken.cancel()
            self._untaken = None

    def read_no_more(self) -> None:
        """Close the connection after the answer to this request, whatever is left of its body."""
        self._lingering_time = 0.0

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """One line for a fault of ours, and none for a body that cannot be read: aiohttp would print a traceback."""
        error = kw.get("exc_info")
        if not isinstance(error, _CLIENT_FAULTS):
            self._server.report(f"a connection failed: {type(error).__name__}: {shortened(str(error))}")

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What aiohttp cannot read as HTTP. Its own log would have a traceback for each."""
        if isinstance(exc, ConnectionError):  # nobody is there to be answered
            raise exc
        self._server.on_error(status)
        if status >= 500:
            self.log_exception(exc_info=exc)
        reason = "the server failed; its log says how" if status >= 500 else f"not HTTP: {shortened(message or '')}"
        return json_error(status, reason, last=True)
