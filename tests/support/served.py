"""A bundle served by a process of its own, and clients of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class Served:
    """The process and its port. `stderr` is what it has said once it has ended."""

    process: subprocess.Popen[str]
    port: int
    stderr: str = ""

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers of one request; a body that is no bytes is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, sent, headers or {})
            response = connection.getresponse()
            return response.status, response.read(), dict(response.getheaders())

    def infer(self, body: Any, headers: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
        """Status and JSON of an inference."""
        status, content, _ = self.ask("POST", "/v2/models/small/infer", body, headers)
        return status, json.loads(content)

    def send(self, content: bytes, *, finish: bool = False) -> bytes:
        """All that comes back for raw bytes until the server closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(content)
                if finish:
                    connection.shutdown(socket.SHUT_WR)
            return _until_closed(connection)

    def end(self) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        _, self.stderr = self.process.communicate(timeout=60)
        return self.process.returncode


@contextlib.contextmanager
def serving(bundle: Path, *options: Any) -> Iterator[Served]:
    """`edgemate serve` with these options, which ends with the block."""
    words = [sys.executable, "-m", "edgemate", "serve", str(bundle), "--port", "0", "--threads", "1"]
    process = subprocess.Popen([*words, *map(str, options)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()  # type: ignore[union-attr]
        found = re.fullmatch(r"serving at http://127\.0\.0\.1:(\d+)\n", line)
        if found is None:
            raise AssertionError(f"it said {line!r} and {process.communicate(timeout=30)[1]!r}")
        served = Served(process, int(found[1]))
        yield served
        if process.returncode is None:
            assert served.end() == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ready_input(images: np.ndarray) -> dict[str, Any]:
    """Ready images as a JSON tensor."""
    return {"name": "image", "datatype": "FP32", "shape": list(images.shape), "data": images.ravel().tolist()}


def binary_request(tensor: np.ndarray, name: str, datatype: str, **fields: Any) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request with one binary tensor."""
    content = tensor.tobytes()
    given = {"name": name, "datatype": datatype, "shape": list(tensor.shape)}
    text = json.dumps({"inputs": [{**given, "parameters": {"binary_data_size": len(content)}}], **fields}).encode()
    return text + content, {"Inference-Header-Content-Length": str(len(text))}


def _until_closed(connection: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(ConnectionError):
        while chunk := connection.recv(65536):
            found += chunk
    return found
