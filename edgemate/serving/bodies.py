"""Reading the bodies of requests, within limits on each and on all together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from edgemate.limits import BODIES_BYTES, REQUEST_BYTES
from edgemate.serving.connections import close_unread
from edgemate.serving.refusal import RefusedError, bad
from edgemate.wording import shortened


class Bodies:
    """The bodies that are held at a time.

    Args:
        timeout_s: seconds that one may take to come.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._held = 0

    @asynccontextmanager
    async def of(self, request: web.BaseRequest) -> AsyncIterator[bytearray]:
        """The body of a request, which counts as held until the block ends.

        Raises:
            RefusedError: it is compressed, too large, late or broken, or there is no place for it; status 4xx or 503.
        """
        self._check_head(request)
        body = bytearray()
        try:
            try:
                await asyncio.wait_for(self._read(request, body), self._timeout_s)
            except asyncio.TimeoutError:
                raise RefusedError(408, f"the body did not arrive within {self._timeout_s:g} s") from None
            except web.RequestPayloadError as error:
                raise bad(f"the body cannot be read: {shortened(str(error))}") from None
            yield body
        finally:
            self._held -= len(body)

    def _check_head(self, request: web.BaseRequest) -> None:
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            close_unread(request)
            raise RefusedError(415, "Content-Encoding: compressed bodies are not read")
        if (request.content_length or 0) > REQUEST_BYTES.most:
            raise RefusedError(413, f"the body {REQUEST_BYTES.exceeded(request.content_length)}")
        expected = request.headers.get("Expect", "").lower()
        if expected == "100-continue" and isinstance(request.transport, asyncio.Transport):
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif expected:
            raise RefusedError(417, f"Expect: {shortened(expected)} is not known here")

    async def _read(self, request: web.BaseRequest, body: bytearray) -> None:
        async for chunk in request.content.iter_any():
            if len(body) + len(chunk) > REQUEST_BYTES.most:
                raise RefusedError(413, f"the body {REQUEST_BYTES.exceeded()}")
            if self._held + len(chunk) > BODIES_BYTES.most:
                message = f"the bodies of all requests have {BODIES_BYTES.most:,} bytes, which is the limit"
                raise RefusedError(503, message, {"Retry-After": "1"})
            body += chunk
            self._held += len(chunk)
