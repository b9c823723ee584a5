"""Is the estimated latency floor ever above the measured latency?

    python benchmarks/roofline.py --threads 1 2

Measures the CPU with machine_peak.py, and takes that as the specification of a device. Then every registered backbone
at its usual image size, and some of timm and torchvision, is exported with random weights, and every exit is timed in
ONNX Runtime at batch 1, as prefix and as segments. Peaks are measured again at the end, and the higher ones are used: a
busy machine hides its peak.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from machine_peak import Peak, measure_peak

from edgemate import files
from edgemate.bundle import Bundle
from edgemate.machine import machine_metadata
from edgemate.profiling.roofline import latency_floor
from edgemate.registry import BACKBONES
from edgemate.runtime.backends.onnxruntime import ONNXRuntimeBackend
from edgemate.timing import time_rounds

if TYPE_CHECKING:
    from edgemate.models.layers import CountedLayers
    from edgemate.profiling.device_spec import DeviceSpec

Times = dict[tuple[int, str, int], list[float]]
"""Threads, `prefix` or `segments`, and exit → milliseconds of every call."""

OPTIONS: dict[str, dict[str, Any]] = {
    "msdnet": {"blocks": 3, "base": 2, "step": 1},
    "wide_resnet": {"depth": 16, "width": 2},
}
"""Options of backbones that cannot be built without."""
SIDES = dict.fromkeys(
    ("msdnet", "msdnet_cifar_anytime", "msdnet_cifar_budgeted", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"), 32
)
"""Side of the image where it is not 224 pixels, nor known to the backbone."""
TRACED = (
    *("timm/mobilenetv3_small_100", "timm/tf_efficientnet_lite0", "timm/vit_tiny_patch16_224"),
    *("torchvision/resnet18", "torchvision/shufflenet_v2_x1_0"),
)


def main() -> None:
    options = _options()
    before = {threads: measure_peak(threads, options.seconds) for threads in options.threads}
    measured: dict[str, tuple[CountedLayers, Times]] = {}
    # Torch stays in a process of its own: the one that measures has no torch, as on a device.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        for name in options.backbones or (*BACKBONES.names(), *TRACED):
            with tempfile.TemporaryDirectory() as folder:
                side, layers = pool.submit(_write, Path(folder) / "bundle", name).result()
                bundle = Bundle.open(Path(folder) / "bundle")
                measured[name] = layers, _measure(bundle, side, options.threads, options.repeats)
            rows = _store(options, {threads: peak.spec() for threads, peak in before.items()}, measured)
            print(f"measured: {name}, highest floor {_highest(rows):.2f} of the median so far", flush=True)
    specs = {t: _higher([peak, measure_peak(t, options.seconds)]) for t, peak in before.items()}
    rows = _store(options, specs, measured)
    print(f"{'network':32} threads exit    graphs  floor ms   fastest       p50  of p50")
    for row in rows:
        print(
            f"{row['network']:32} {row['threads']:>7} {row['exit']:>4} {row['scope']:>9} {row['floor_ms']:>9.3f} "
            f"{row['fastest_ms']:>9.3f} {row['p50_ms']:>9.3f} {row['floor_ms'] / row['p50_ms']:>7.2f}"
        )
    above = [row for row in rows if row["floor_ms"] > row["p50_ms"]]
    print(f"floors above the measured median: {len(above)} of {len(rows)}; highest {_highest(rows):.2f} of it")


def _store(
    options: argparse.Namespace, specs: dict[int, DeviceSpec], measured: dict[str, tuple[CountedLayers, Times]]
) -> list[dict[str, Any]]:
    """Compare and write what has been measured so far."""
    rows = [
        row
        for threads, spec in specs.items()
        for name, found in measured.items()
        for row in compare(name, threads, spec, *found)
    ]
    files.write_json(
        options.output,
        {
            "benchmark": "roofline",
            "machine": machine_metadata(),
            "unit": "ms",
            "estimate": "floor_ms is an estimate; fastest_ms and p50_ms are measured at batch 1",
            "repeats": options.repeats,
            "devices": {str(threads): spec.model_dump(mode="json") for threads, spec in specs.items()},
            "floors_above_p50": sum(row["floor_ms"] > row["p50_ms"] for row in rows),
            "highest_fraction_of_p50": _highest(rows),
            "results": rows,
        },
    )
    return rows


def _highest(rows: Sequence[dict[str, Any]]) -> float:
    return max(row["floor_ms"] / row["p50_ms"] for row in rows)


def compare(
    name: str,
    threads: int,
    spec: DeviceSpec,
    layers: CountedLayers,
    times: Times,
) -> list[dict[str, Any]]:
    """One row per exit and layout: the floor beside the fastest and the median time."""
    rows = []
    for (of, scope, exit), samples in times.items():
        if of != threads:
            continue
        some = layers.prefix(exit) if scope == "prefix" else [one for one in layers.layers if one.exit <= exit]
        floor = latency_floor(some, spec, "fp32")
        rows.append(
            {
                "network": name,
                "threads": threads,
                "exit": exit,
                "scope": scope,
                "macs": sum(layer.macs for layer in some),
                "floor_ms": floor.ms,
                "bound": floor.bound,
                "fastest_ms": min(samples),
                "p50_ms": float(np.median(samples)),
            }
        )
    return rows


def _measure(bundle: Bundle, side: int, threads: Sequence[int], repeats: int) -> Times:
    """Per number of threads, layout and exit the milliseconds of every call."""
    images = np.random.default_rng(0).normal(size=(1, 3, side, side)).astype(np.float32)
    found: Times = {}
    for number in threads:
        backends = {
            layout: ONNXRuntimeBackend(bundle, layout=layout, threads=number) for layout in ("segments", "prefixes")
        }
        calls: dict[tuple[int, str, int], Callable[[], object]] = {}
        for exit in range(1, len(bundle.manifest.exits) + 1):
            calls[number, "prefix", exit] = lambda k=exit, b=backends["prefixes"]: b.run_prefix(k, images)
            calls[number, "segments", exit] = lambda k=exit, b=backends["segments"]: _advance(b, images, k)
        found |= time_rounds(lambda _, calls=calls: calls, warmup=3, repeats=repeats)
        for backend in backends.values():
            backend.close()
    return found


def _advance(backend: ONNXRuntimeBackend, images: np.ndarray, exit: int) -> None:
    flow = backend.begin(images)
    for _ in range(exit):
        flow.advance()


def _write(target: Path, name: str) -> tuple[int, CountedLayers]:
    """Write the bundle of a network with random weights; side of its image, and its layers."""
    from random_bundle import build_and_write

    from edgemate.config import Model
    from edgemate.models.building import usual_size
    from edgemate.models.layers import count_layers

    options = OPTIONS.get(name, {})
    side = SIDES.get(name, usual_size(Model(backbone=name, options=options))[0])
    return side, count_layers(build_and_write(target, name, (3, side, side), options), (3, side, side))


def _higher(peaks: Sequence[Peak]) -> DeviceSpec:
    """A specification with the highest peak and bandwidth of several measurements."""
    specs = [peak.spec() for peak in peaks]
    return specs[0].model_copy(
        update={
            "peak_flops": {"fp32": max((spec.peak_flops["fp32"] for spec in specs), key=lambda figure: figure.value)},
            "memory_bandwidth": max((spec.memory_bandwidth for spec in specs), key=lambda figure: figure.value),
        }
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", help="all registered ones and some of timm and torchvision if absent")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.3, help="per way to compute and per working set")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "roofline.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
