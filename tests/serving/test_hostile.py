"""Whatever a client sends, it gets a status of 400 to 499 and one line of JSON, and the next one is answered."""

from __future__ import annotations

import gzip
import json
import os
import socket
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import Served, binary_request, ready_input

from edgemate.limits import REQUEST_BYTES

INFER = "/v2/models/small/infer"
HEAD = f"POST {INFER} HTTP/1.1\r\nHost: a\r\n"
IMAGE = np.zeros((1, 3, 8, 8), np.float32)
GOOD = ready_input(IMAGE)


def tensor(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{key: value for key, value in {**GOOD, **changes}.items() if value is not ...}]}


def binary(content: bytes, length: object, size: object = 768, shape: Any = (1, 3, 8, 8)) -> tuple[bytes, dict]:
    given = {"name": "image", "datatype": "FP32", "shape": list(shape), "parameters": {"binary_data_size": size}}
    text = json.dumps({"inputs": [given]}).encode()
    return text + content, {"Inference-Header-Content-Length": str(len(text) if length is None else length)}


with_nan, with_infinity = IMAGE.copy(), IMAGE.copy()
with_nan[0, 0, 0, 0], with_infinity[0, 1, 2, 3] = np.nan, np.inf

BODIES = {
    "nothing": b"",
    "half of it": b'{"inputs": [',
    "no UTF-8": b'{"id": "\xff"}',
    "half a surrogate pair": b'{"id": "\\ud800", "inputs": []}',
    "a list": b"[]",
    "deeply nested": b"[" * 1_000_000,
    "deeply nested data": json.dumps(tensor(data=None))[:-3].encode() + b', "x": ' + b"[" * 200 + b"]" * 200 + b"}]}",
    "NaN": json.dumps(tensor(data=[float("nan")] * 192)).encode(),
    "a number out of range": b'{"inputs": [], "x": 1e999}',
    "an endless integer": b'{"inputs": [], "x": ' + b"9" * 5000 + b"}",
    "no inputs": {"inputs": []},
    "inputs that are no list": {"inputs": {"name": "image"}},
    "an input that is no object": {"inputs": [7]},
    "two inputs": {"inputs": [GOOD, GOOD]},
    "many inputs": {"inputs": [GOOD] * 100},
    "another name": tensor(name="image\x1b[2J\n"),
    "no name": tensor(name=...),
    "another datatype": tensor(datatype="FP64"),
    "datatype BYTES": tensor(datatype="BYTES", data=["a"]),
    "a datatype that is no string": tensor(datatype=[1]),
    "a shape that is another": tensor(shape=[1, 3, 8, 9]),
    "a flat shape": tensor(shape=[192]),
    "an empty shape": tensor(shape=[]),
    "a huge shape": tensor(shape=[1 << 40, 3, 8, 8]),
    "a shape that overflows": tensor(shape=[1 << 62, 1 << 62, 1 << 62, 3]),
    "a long shape": tensor(shape=[1] * 5000),
    "a negative size": tensor(shape=[-1, 3, 8, 8]),
    "two negative sizes": tensor(shape=[-1, -3, 8, 8]),
    "no image": tensor(shape=[0, 3, 8, 8], data=[]),
    "a size that is true": tensor(shape=[True, 3, 8, 8]),
    "a size that is no integer": tensor(shape=[1.0, 3, 8, 8]),
    "more images than a batch": tensor(shape=[9, 3, 8, 8], data=[0] * 1728),
    "too few numbers": tensor(data=[0.0] * 191),
    "ragged lists": tensor(data=[[[[0.0] * 8] * 8] * 3 + [[]]]),
    "text as data": tensor(data=["1"] * 192),
    "one long text among numbers": tensor(data=["x" * 100_000] + [0] * 191),
    "truth as data": tensor(data=[True] * 192),
    "null as data": tensor(data=None),
    "no data": tensor(data=...),
    "a number that float32 has not": tensor(data=[1e300] * 192),
    "pixels out of range": tensor(name="pixels", datatype="UINT8", shape=[1, 8, 8, 3], data=[256] * 192),
    "negative pixels": tensor(name="pixels", datatype="UINT8", shape=[1, 8, 8, 3], data=[-1] * 192),
    "broken pixels": tensor(name="pixels", datatype="UINT8", shape=[1, 8, 8, 3], data=[0.5] * 192),
    "two channels": tensor(name="pixels", datatype="UINT8", shape=[1, 8, 12, 2]),
    "a line of pixels": tensor(name="pixels", datatype="UINT8", shape=[1, 1, 1 << 20, 3]),
    "too many pixels": tensor(name="pixels", datatype="UINT8", shape=[1, 60_000, 60_000, 3], data=[]),
    "an unknown output": {**tensor(), "outputs": [{"name": "secrets"}]},
    "an output that is no text": {**tensor(), "outputs": [{"name": ["logits"]}]},
    "no outputs": {**tensor(), "outputs": []},
    "an output twice": {**tensor(), "outputs": [{"name": "exit"}, {"name": "exit"}]},
    "an unknown parameter of an output": {**tensor(), "outputs": [{"name": "exit", "parameters": {"top": 3}}]},
    "an unknown policy": {**tensor(), "parameters": {"policy": "nope"}},
    "a long policy": {**tensor(), "parameters": {"policy": "x" * 100_000}},
    "a policy that is no text": {**tensor(), "parameters": {"policy": {}}},
    "an unknown parameter": {**tensor(), "parameters": {"sequence_id": 1}},
    "parameters that are no object": {**tensor(), "parameters": []},
    "a deadline that is not allowed": {**tensor(), "parameters": {"deadline_ms": 5}},
    "a negative deadline": {**tensor(), "parameters": {"deadline_ms": -5}},
    "a deadline that is true": {**tensor(), "parameters": {"deadline_ms": True}},
    "an id that is no text": {**tensor(), "id": 7},
    "binary of another size": binary(b"\0" * 767, None),
    "binary with something after it": binary(b"\0" * 769, None),
    "a size of binary that is another": binary(b"\0" * 768, None, 767),
    "a negative size of binary": binary(b"\0" * 768, None, -768),
    "a size of binary that is text": binary(b"\0" * 768, None, "768"),
    "a huge size of binary": binary(b"\0" * 768, None, 1 << 62),
    "binary of another shape": binary(b"\0" * 768, None, 768, (2, 3, 8, 8)),
    "a length beyond the body": binary(b"\0" * 768, 10_000),
    "a negative length": binary(b"\0" * 768, -1),
    "a length that is no number": binary(b"\0" * 768, "1e2"),
    "a length of zero": binary(b"\0" * 768, 0),
    "a binary NaN": binary_request(with_nan, "image", "FP32"),
    "a binary infinity": binary_request(with_infinity, "image", "FP32"),
}


def assert_refused(status: int, body: bytes) -> None:
    assert 400 <= status < 500, body
    assert b"\n" not in body
    assert b"Traceback" not in body
    assert body.isascii()
    assert list(json.loads(body)) == ["error"]
    assert 0 < len(body) < 1000


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_hostile_body_is_refused(server: Served, body: Any) -> None:
    content, headers = body if isinstance(body, tuple) else (body, {})
    status, answer, _ = server.ask("POST", INFER, content, headers)
    assert_refused(status, answer)
    assert server.infer(tensor())[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v2/models/other", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v2/models/small/versions/2/infer", 404),
        ("POST", "/v2/models/%ff%00/infer", 404),
        ("GET", "/v2/models/../../etc/passwd", 404),
        ("GET", "/v2/models/small/" + "a" * 3000, 404),
        ("GET", INFER, 405),
        ("DELETE", "/v2/models/small", 405),
        ("POST", "/metrics", 405),
        ("BREW", INFER, 400),
    ],
)
def test_an_unknown_path_or_method_is_refused(server: Served, method: str, path: str, status: int) -> None:
    found, body, _ = server.ask(method, path)
    assert found == status
    assert_refused(found, body)


def responses(content: bytes) -> list[tuple[int, bytes]]:
    """The responses in what came back on one connection."""
    found = []
    while content:
        head, _, rest = content.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        [length] = [int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length")]
        found.append((int(lines[0].split()[1]), rest[:length]))
        content = rest[length:]
    return found


@pytest.mark.parametrize(
    "content",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        f"{HEAD}Content-Length: -5\r\n\r\n{{}}".encode(),
        f"{HEAD}Content-Length: 1\r\nContent-Length: 2\r\n\r\n{{}}".encode(),
        f"{HEAD}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode(),
        f"{HEAD}Transfer-Encoding: chunked\r\n\r\nnothex\r\n{{}}\r\n0\r\n\r\n".encode(),
        f"{HEAD}X: {'a' * 100_000}\r\n\r\n".encode(),
        (HEAD + "".join(f"X{i}: a\r\n" for i in range(20_000)) + "\r\n").encode(),
        f"{HEAD}A\0B: c\r\n\r\n".encode(),
    ],
)
def test_what_is_not_http_is_refused(server: Served, content: bytes) -> None:
    found = responses(server.send(content))
    assert found
    for status, body in found:
        assert_refused(status, body)
    assert server.infer(tensor())[0] == 200


def test_a_body_that_does_not_come_times_out(server: Served) -> None:
    started = time.monotonic()
    [(status, body)] = responses(server.send(f"{HEAD}Content-Length: 1000\r\n\r\n{{".encode()))
    assert status == 408
    assert_refused(status, body)
    assert 0.4 < time.monotonic() - started < 10


def test_a_head_that_does_not_come_ends_the_connection(server: Served) -> None:
    for beginning in (b"", HEAD.encode()):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(beginning)
            assert connection.recv(100) == b""


def test_a_body_that_ends_early_is_forgotten(server: Served) -> None:
    server.send(f"{HEAD}Content-Length: 1000\r\n\r\n{{".encode(), finish=True)
    assert server.infer(tensor())[0] == 200


def test_a_claimed_size_is_refused_before_the_body_comes(server: Served) -> None:
    [(status, body)] = responses(server.send(f"{HEAD}Content-Length: {REQUEST_BYTES.most + 1}\r\n\r\n".encode()))
    assert status == 413
    assert "67,108,864" in json.loads(body)["error"]


def test_a_flood_of_chunks_is_refused_where_it_passes_the_limit(server: Served) -> None:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    with connection:
        connection.sendall(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode())
        chunk = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
        try:
            for _ in range(2 * (REQUEST_BYTES.most >> 20)):
                connection.sendall(chunk)
        except ConnectionError:
            pass
        try:
            found = connection.recv(1000)
        except ConnectionError:
            found = b""
    # Where the kernel drops the answer with what was not read, the connection is closed all the same.
    assert found.startswith(b"HTTP/1.1 4") or found == b""
    assert server.infer(tensor())[0] == 200


def test_a_compressed_body_is_refused(server: Served) -> None:
    bomb = gzip.compress(b" " * (32 << 20))
    status, body, _ = server.ask("POST", INFER, bomb, {"Content-Encoding": "gzip"})
    assert status == 415
    assert_refused(status, body)


def cpu_seconds(server: Served) -> float:
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_compressed_body_is_not_unpacked(server: Served) -> None:
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 20)
    bomb = b"".join([*(packer.compress(zeros) for _ in range(128)), packer.flush()])
    head = f"{HEAD}Content-Encoding: gzip\r\nContent-Length: {len(bomb) + 1}\r\n\r\n".encode()
    before, started = cpu_seconds(server), time.monotonic()
    for _ in range(20):
        found = responses(server.send(head + bomb))  # whose last byte never comes
        assert [status for status, _ in found] in ([415], [])  # the kernel may drop it with what was not read
    assert cpu_seconds(server) - before < 0.7
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("start", [HEAD, "GET /v2 HTTP/1.1\r\nHost: a\r\n"])
@pytest.mark.parametrize("rest", ["", "Transfer-Encoding: chunked\r\n", "Connection: close\r\n"])
def test_what_is_not_compressed_though_it_says_so_is_no_fault(
    server: Served, coding: str, start: str, rest: str
) -> None:
    """The fixture sees that nothing is printed."""
    length = "" if "chunked" in rest else "Content-Length: 7\r\n"
    found = server.send(f"{start}{rest}Content-Encoding: {coding}\r\n{length}\r\nnothing".encode())
    for status, _ in responses(found):
        assert status in (200, 400, 415)
    assert server.ask("GET", "/v2/health/live")[0] == 200


@pytest.mark.parametrize("start", [HEAD, "GET /v2 HTTP/1.1\r\nHost: a\r\n"])
@pytest.mark.parametrize("rest", ["Content-Length: 9\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n5\r\n{"])
def test_a_body_that_is_cut_off_is_no_fault(server: Served, start: str, rest: str) -> None:
    for status, _ in responses(server.send(f"{start}{rest}".encode(), finish=True)):
        assert status in (200, 400)
    assert b'code="500"' not in server.ask("GET", "/metrics")[1]


@pytest.mark.parametrize(("expected", "status"), [("100-continue", 100), ("cookies", 417)])
def test_a_client_that_asks_first_is_told(server: Served, expected: str, status: int) -> None:
    body = json.dumps(tensor()).encode()
    head = f"{HEAD}Content-Length: {len(body)}\r\nConnection: close\r\nExpect: {expected}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head)
        assert connection.recv(1000).startswith(f"HTTP/1.1 {status} ".encode())
        if status == 100:
            connection.sendall(body)
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
