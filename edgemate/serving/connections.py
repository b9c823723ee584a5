"""Connections: how many there may be, and what becomes of one that does not speak HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from edgemate.limits import CONNECTIONS
from edgemate.wording import shortened

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


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
        timeout_s: seconds that a connection may take to send a request's head, the first or the next.
        on_error: called with the status of an answer to what is no HTTP request.
    """

    def __init__(self, handler: Handler, *, timeout_s: float, on_error: Callable[[int], None]) -> None:
        super().__init__(handler)
        self.on_error = on_error
        self._timeout_s = timeout_s

    def __call__(self) -> web.RequestHandler:
        """The protocol of one connection."""
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=self._timeout_s,
            lingering_time=min(self._timeout_s, 2.0),  # to read what is left of a refused body
            access_log=None,
        )


class _Connection(web.RequestHandler):
    def __init__(self, server: HttpServer, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self._server.connections) > CONNECTIONS.most and isinstance(transport, asyncio.Transport):
            self._server.on_error(503)
            body = json.dumps({"error": f"there are {CONNECTIONS.most} connections, which is the limit"}).encode()
            transport.write(
                b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
                b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What aiohttp cannot read as HTTP. Its own log would have a traceback for each."""
        self._server.on_error(status)
        reason = "the server failed; its log says how" if status >= 500 else f"not HTTP: {shortened(message or '')}"
        return json_error(status, reason, last=True)
