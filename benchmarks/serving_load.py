"""Requests per second, latency and lost requests of `edgemate serve`, on the loopback address.

    python benchmarks/serving_load.py
    python benchmarks/serving_load.py bundles/digits

The server is a process of its own, and the client this one; both share the machine's cores. Every client waits for its
answer before it asks again. Each request has one image as a binary tensor, or as many as a batch. Every answer is
compared with that of the classifier in this process, so a request that is lost or gets another's answer is found.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from random_bundle import write_random_bundle

from edgemate import files
from edgemate.bundle import Bundle
from edgemate.machine import machine_metadata
from edgemate.runtime import AnytimeClassifier
from edgemate.timing import Latency

JSON_LENGTH = "Inference-Header-Content-Length"
IMAGES = 64
# max_batch of the server, images in a request, clients
CASES = ((1, 1, 1), (1, 1, 16), (8, 1, 16), (8, 8, 2))


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        bundle = (
            write_random_bundle(Path(folder) / "resnet20", "resnet20", (3, 32, 32))
            if options.bundle is None
            else Bundle.open(options.bundle)
        )
        load_before = os.getloadavg()[0]
        rows = [_measured(bundle, case, options) for case in CASES]
    print(f"{bundle.manifest.name}: load of the machine before {load_before:.2f}, {options.threads} threads")
    titles = ("max batch", "images", "clients", "requests/s", "images/s", "p50 ms", "p99 ms", "lost")
    print(" ".join(title.rjust(10) for title in titles))
    for row in rows:
        figures = (row["max_batch"], row["images"], row["clients"], row["requests_per_s"], row["images_per_s"])
        times = (row["ms"]["p50"], row["ms"]["p99"])
        cells = [*(f"{figure:.0f}" for figure in figures), *(f"{ms:.2f}" for ms in times)]
        print(
            " ".join(cell.rjust(10) for cell in cells),
            f"{row['lost']:>10} of {row['requests']:,}, {row['wrong']} wrong",
        )
    files.write_json(
        options.output,
        {
            "benchmark": "serving_load",
            "bundle": bundle.manifest.name,
            "threads": options.threads,
            "load_average_before": load_before,
            "machine": machine_metadata(),
            "rows": rows,
        },
    )
    sys.exit(1 if any(row["lost"] or row["wrong"] for row in rows) else 0)


def _measured(bundle: Bundle, case: tuple[int, int, int], options: argparse.Namespace) -> dict[str, Any]:
    max_batch, images, clients = case
    inputs = np.random.default_rng(0).normal(size=(IMAGES, *bundle.manifest.input.shape(1)[1:])).astype(np.float32)
    with AnytimeClassifier.load(bundle, threads=options.threads) as classifier:
        expected = [prediction.index for prediction in classifier.classify(inputs)]
    requests = options.requests // images
    with _server(bundle.path, max_batch, options.threads) as url:
        model = f"{url}/v2/models/{bundle.manifest.name}/infer"
        client = _Client(model, inputs, expected, images)
        asyncio.run(client.run(clients, min(200, requests)))  # warms up both
        client.times.clear()
        started = time.perf_counter()
        asyncio.run(client.run(clients, requests))
        seconds = time.perf_counter() - started
    latency = Latency.of(client.times)
    return {
        "max_batch": max_batch,
        "images": images,
        "clients": clients,
        "requests": requests,
        "lost": requests - len(client.times),
        "wrong": client.wrong,
        "requests_per_s": len(client.times) / seconds,
        "images_per_s": len(client.times) * images / seconds,
        "ms": {"p50": latency.p50, "p99": latency.p99, "mean": latency.mean},
    }


class _Client:
    """Asks `n` requests in all, from several clients; `times` are those of answered ones, in ms."""

    def __init__(self, url: str, inputs: np.ndarray, expected: list[int | None], images: int) -> None:
        self.times: list[float] = []
        self.wrong = 0
        self._url = url
        self._expected = expected
        self._images = images
        self._bodies = []
        for at in range(0, IMAGES, images):
            content = inputs[at : at + images].tobytes()
            given = {"name": "image", "datatype": "FP32", "shape": [images, *inputs.shape[1:]]}
            request = {
                "inputs": [{**given, "parameters": {"binary_data_size": len(content)}}],
                "outputs": [{"name": name} for name in ("label", "index", "exit", "ms")],
            }
            text = json.dumps(request).encode()
            self._bodies.append((at, text + content, {JSON_LENGTH: str(len(text))}))

    async def run(self, clients: int, requests: int) -> None:
        numbers = iter(range(requests))
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=clients), timeout=timeout) as session:
            await asyncio.gather(*(self._one(session, numbers) for _ in range(clients)))

    async def _one(self, session: aiohttp.ClientSession, numbers: Iterator[int]) -> None:
        for number in numbers:
            at, body, headers = self._bodies[number % len(self._bodies)]
            started = time.perf_counter()
            try:
                async with session.post(self._url, data=body, headers=headers) as response:
                    answer = json.loads(await response.read())
            except (aiohttp.ClientError, asyncio.TimeoutError, ValueError):
                continue
            elapsed = time.perf_counter() - started
            found = {tensor["name"]: tensor["data"] for tensor in answer.get("outputs", [])}
            if response.status == 200:
                self.times.append(1000 * elapsed)
                self.wrong += found.get("index") != self._expected[at : at + self._images]


@contextmanager
def _server(bundle: Path, max_batch: int, threads: int) -> Iterator[str]:
    words = ("serve", bundle, "--port", 0, "--max-batch", max_batch, "--threads", threads)
    process = subprocess.Popen([sys.executable, "-m", "edgemate", *map(str, words)], stdout=subprocess.PIPE, text=True)
    try:
        found = re.search(r"http://\S+", process.stdout.readline())  # type: ignore[union-attr]
        if found is None:
            raise SystemExit("the server did not start")
        yield found[0]
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?", help="a bundle; an untrained ResNet-20 at 32×32 if absent")
    parser.add_argument("--requests", type=int, default=10_000, help="images of each row, in requests of one or more")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "serving_load.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
