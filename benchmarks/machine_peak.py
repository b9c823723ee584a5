"""Measure how much arithmetic and how much bandwidth this machine's CPU reaches; write it as a device specification.

    python benchmarks/machine_peak.py --threads 1 --output cpu.yaml

`edgemate profile RUN --device-spec cpu.yaml` then estimates floors for it. Arithmetic is float32, the best of matrix
products in NumPy and of matrix products and convolutions in ONNX Runtime. Bandwidth is the best over working sets from
16 KB, which fit into the first cache, to 64 MB: a small network runs out of the caches, so a floor must use the fastest
of them. Both are the best of many calls, as a floor must not suffer from what else the machine does.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import yaml
from numpy.lib.stride_tricks import as_strided
from onnx import TensorProto, helper, numpy_helper
from threadpoolctl import threadpool_limits

from edgemate import files
from edgemate.machine import processor, usable_cores
from edgemate.profiling.device_spec import DeviceSpec

SIDES = (256, 512, 1024)
CONVOLUTIONS = ((64, 56, 3), (128, 28, 3), (256, 14, 3), (512, 14, 1), (256, 28, 1))
"""Channels in and out, side of the map, side of the kernel."""
WORKING_SETS = tuple(2**exponent for exponent in range(14, 27, 2))
BYTES_PER_CALL = 1 << 26


@dataclass(frozen=True)
class Peak:
    """What was reached with some threads.

    Attributes:
        threads: CPU threads.
        gflops: way to compute → 1e9 FLOP/s, float32.
        bandwidth: working set per thread, bytes → 1e9 bytes/s read.
        single: the same with one thread; itself if there is only one.
    """

    threads: int
    gflops: dict[str, float]
    bandwidth: dict[int, float]
    single: Peak | None = None

    def spec(self) -> DeviceSpec:
        """The best of them as a device specification.

        Several threads are taken to reach at least what one reaches, times their number: a busy machine hides that.
        """
        flops = {f"{way}, threads: {self.threads}": value for way, value in self.gflops.items()}
        speed = {f"working set {size >> 10} KB per thread": value for size, value in self.bandwidth.items()}
        if self.single is not None:
            flops |= {f"{self.threads} times {way}": self.threads * one for way, one in self.single.gflops.items()}
            speed |= {
                f"{self.threads} times that of one thread with {size >> 10} KB": self.threads * one
                for size, one in self.single.bandwidth.items()
            }
        return DeviceSpec.model_validate(
            {
                "name": f"{processor()}, threads: {self.threads}",
                "units": f"CPU, threads: {self.threads}",
                "peak_flops": {"fp32": _best(flops)},
                "memory_bandwidth": _best(speed),
            }
        )


def _best(found: dict[str, float]) -> dict[str, float | str]:
    way = max(found, key=lambda one: found[one])
    return {"value": 1e9 * found[way], "source": f"measured by benchmarks/machine_peak.py: {way}"}


def measure_peak(threads: int, seconds: float = 0.3) -> Peak:
    """Measure for about `seconds` per way and working set."""
    gflops = {}
    for name, flops, call in _computations(threads):
        with threadpool_limits(threads):
            gflops[name] = flops / _fastest(call, seconds) * 1e-9
    bandwidth = {size: _bandwidth(size, threads, seconds) for size in WORKING_SETS}
    return Peak(threads, gflops, bandwidth, measure_peak(1, seconds) if threads > 1 else None)


def main() -> None:
    options = _options()
    peak = measure_peak(options.threads, options.seconds)
    for way, gflops in peak.gflops.items():
        print(f"{way:40} {gflops:8.1f} GFLOP/s")
    for size, speed in peak.bandwidth.items():
        print(f"read, working set {size >> 10:6} KB per thread {speed:11.1f} GB/s")
    files.write_text(
        options.output, yaml.safe_dump(peak.spec().model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    )
    print(f"written: {options.output}")


def _computations(threads: int) -> Iterator[tuple[str, int, Callable[[], object]]]:
    """Name, FLOPs of a call, and the call."""
    random = np.random.default_rng(0)
    for n in SIDES:
        a, b = (random.standard_normal((n, n), dtype=np.float32) for _ in range(2))
        product = np.empty((n, n), np.float32)
        yield f"NumPy, matrices of {n}", 2 * n**3, lambda a=a, b=b, c=product: np.matmul(a, b, out=c)  # type: ignore[misc]
        yield f"ONNX Runtime, matrices of {n}", 2 * n**3, _session_call("MatMul", a, b, threads)
    for channels, side, kernel in CONVOLUTIONS:
        image = random.standard_normal((1, channels, side, side), dtype=np.float32)
        weights = random.standard_normal((channels, channels, kernel, kernel), dtype=np.float32)
        name = f"ONNX Runtime, {kernel}×{kernel} convolution of {channels}×{side}×{side}"
        flops = 2 * weights.size * side * side
        yield name, flops, _session_call("Conv", image, weights, threads, pads=[kernel // 2] * 4)


def _session_call(
    operator: str, given: np.ndarray, weights: np.ndarray, threads: int, **attributes: list[int]
) -> Callable[[], object]:
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w"], ["y"], **attributes)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, given.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, given.shape)],
        [numpy_helper.from_array(weights, "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": given})


def _bandwidth(size: int, threads: int, seconds: float) -> float:
    """1e9 bytes/s that all threads together read, each over and over from its own `size` bytes."""
    rows = max(1, BYTES_PER_CALL // size)
    # The same row again and again, without copies: one call reads it from the cache that holds it.
    arrays = [as_strided(np.ones(size // 4, np.float32), (rows, size // 4), (0, 4)) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        fastest = _fastest(lambda: list(pool.map(lambda array: array.max(axis=1), arrays)), seconds)
    return threads * rows * size / fastest * 1e-9


def _fastest(call: Callable[[], object], seconds: float) -> float:
    """Seconds of the fastest call; at least five are made."""
    fastest, until, calls = float("inf"), time.perf_counter() + seconds, 0
    while calls < 5 or time.perf_counter() < until:
        started = time.perf_counter()
        call()
        fastest = min(fastest, time.perf_counter() - started)
        calls += 1
    return fastest


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--seconds", type=float, default=0.3, help="per way to compute and per working set")
    parser.add_argument("--output", type=Path, default=Path("cpu.yaml"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
