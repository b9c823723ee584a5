"""Measure what an image takes before the network, with and without the shorter steps for large images.

    python benchmarks/input_path.py --images $EDGEMATE_DATA/imagenette/val --network resnet18

A JPEG of 1920×1080, one of 4000×3000 and a uint8 frame of 1920×1080 are prepared for a network of 224×224 (resize to
256, center crop) in turn, in one process and one thread: with the steps of training (before), and with those of the
device (after). They are tiled with photographs, or with noise where there are none, as all photographs at hand are
small. With --bundle, or --network for an untrained one, the whole way to the answer is measured too, at each exit.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from random_bundle import write_random_bundle

from edgemate import files
from edgemate.bundle import Bundle, InputContract
from edgemate.core.image_search import find_images
from edgemate.core.input_spec import Resize
from edgemate.machine import machine_metadata
from edgemate.policies import FixedExit
from edgemate.runtime import AnytimeClassifier, Latency, Preprocessor
from edgemate.runtime.input_latency import tile
from edgemate.timing import time_in_turns

SIZES = {"1080p JPEG": (1080, 1920), "12 MP JPEG": (3000, 4000), "1080p frame": (1080, 1920)}
QUALITY, PHOTOGRAPHS, SIDE = 90, 256, 224
CONTRACT = InputContract(
    channels=3,
    height=224,
    width=224,
    resize=Resize(mode="shorter_side", size=256),
    center_crop=(224, 224),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
WAYS = {"before": {"exact": True}, "after": {"exact": False}}


def main() -> None:
    options = _options()
    photographs = _photographs(options.images)
    with tempfile.TemporaryDirectory() as folder:
        bundle = None if options.bundle is None else Bundle.open(options.bundle)
        if options.network is not None:
            made = write_random_bundle(Path(folder) / "bundle", options.network, (3, 224, 224))
            bundle = replace(made, manifest=made.manifest.model_copy(update={"input": CONTRACT}))
        contract = CONTRACT if bundle is None else bundle.manifest.input
        images = {name: _make(name, size, photographs, Path(folder)) for name, size in SIZES.items()}
        steps = _steps(contract, images, options.repeats)
        totals = {} if bundle is None else _totals(bundle, images, options.repeats)
    _print(steps, totals)
    files.write_json(
        options.output,
        {
            "benchmark": "input_path",
            "machine": machine_metadata(),
            "threads": 1,
            "load_average": os.getloadavg(),  # over 1, 5 and 15 minutes: what else was running
            "images": f"tiled with {len(photographs)} {'photographs' if options.images else 'arrays of noise'} of "
            f"{SIDE}x{SIDE}, JPEG quality {QUALITY}",
            "network": f"{contract.height}x{contract.width}, resize {contract.resize}, crop {contract.center_crop}",
            "unit": "ms; levels of 0 to 255 for the differences of the pixels",
            "results": steps,
            **({} if bundle is None else {"bundle": bundle.manifest.name, "trained": options.network is None}),
            **({"totals": totals} if totals else {}),
        },
    )


def _steps(contract: InputContract, images: dict[str, Any], repeats: int) -> dict[str, Any]:
    """Decoding and preparing, before and after; how far the pixels are apart."""
    plain = contract.model_copy(update={"frame": None, "dtype": "float32", "layout": "NCHW"})
    ways = {way: Preprocessor(plain, **given) for way, given in WAYS.items()}
    pixels = ways | {"after, pixels": Preprocessor(plain.model_copy(update={"dtype": "uint8", "layout": "NHWC"}))}
    calls = {
        (name, way): [partial(one.timed, image)] * repeats
        for name, image in images.items()
        for way, one in pixels.items()
    }
    samples: dict[tuple[str, str], list[tuple[float, float, float]]] = {key: [] for key in calls}
    for timed in time_in_turns(calls, warmup=3):
        _, decode_ms, prepare_ms = timed.result
        samples[timed.key].append((decode_ms, prepare_ms, decode_ms + prepare_ms))
    found: dict[str, Any] = {}
    for (name, way), rows in samples.items():
        medians = (Latency.of(column).p50 for column in zip(*rows, strict=True))
        found.setdefault(name, {})[way] = dict(zip(("decode", "prepare", "total"), medians, strict=True))
    std = np.array(contract.std)[:, None, None]
    for name, image in images.items():
        before, after = (ways[way].prepare(image) * std * contract.divisor for way in ("before", "after"))
        difference = np.abs(before - after)
        found[name]["difference"] = {
            "mean": float(difference.mean()),
            "p99": float(np.percentile(difference, 99)),
            "max": float(difference.max()),
        }
    return found


def _totals(bundle: Bundle, images: dict[str, Any], repeats: int) -> dict[str, Any]:
    """From the file or frame to the answer at each exit, before and after."""
    found: dict[str, Any] = {}
    with (
        AnytimeClassifier.load(bundle, threads=1, exact_pixels=True) as before,
        AnytimeClassifier.load(bundle, threads=1) as after,
    ):
        exits = range(1, len(before.exits) + 1)
        calls: dict[tuple[str, str, int], list[Callable[[], Any]]] = {
            (name, way, exit): [partial(classifier.classify, image, FixedExit(exit))] * repeats
            for name, image in images.items()
            for way, classifier in (("before", before), ("after", after))
            for exit in exits
        }
        samples: dict[tuple[str, str, int], list[float]] = {key: [] for key in calls}
        for timed in time_in_turns(calls, warmup=2):
            samples[timed.key].append(timed.milliseconds)
    for (name, way, exit), times in samples.items():
        found.setdefault(name, {}).setdefault(way, {})[f"exit {exit}"] = Latency.of(times).p50
    for ways in found.values():
        whole = ways["before"][f"exit {len(exits)}"]
        ways["speedup"] = {exit: whole / ms for exit, ms in ways["after"].items()}
    return found


def _make(name: str, size: tuple[int, int], photographs: np.ndarray, folder: Path) -> Any:
    pixels = tile(photographs, size)
    if "JPEG" not in name:
        return pixels
    path = folder / f"{name}.jpg"
    Image.fromarray(pixels).save(path, quality=QUALITY)
    return path


def _photographs(folder: Path | None) -> np.ndarray:
    """uint8 (N, 224, 224, 3)."""
    random = np.random.default_rng(0)
    if folder is None:
        return random.integers(0, 256, (16, SIDE, SIDE, 3), dtype=np.uint8)
    paths = find_images(folder)
    chosen = random.permutation(len(paths))[:PHOTOGRAPHS]
    return np.stack([np.asarray(Image.open(paths[i]).convert("RGB").resize((SIDE, SIDE))) for i in chosen])


def _print(steps: dict[str, Any], totals: dict[str, Any]) -> None:
    print(f"{'ms, p50':<14} {'':<14} {'decode':>8} {'prepare':>8} {'total':>8}")
    for name, ways in steps.items():
        for way, row in ways.items():
            if way != "difference":
                print(f"{name:<14} {way:<14} {row['decode']:>8.2f} {row['prepare']:>8.2f} {row['total']:>8.2f}")
        difference = ", ".join(f"{key} {value:.2f}" for key, value in ways["difference"].items())
        print(f"{'':<14} pixels apart, in levels: {difference}")
    for name, ways in totals.items():
        for way in ("before", "after"):
            print(f"{name:<14} {way:<14} " + ", ".join(f"{exit} {ms:.2f}" for exit, ms in ways[way].items()))
        print(
            f"{'':<14} faster than the whole network before: "
            + ", ".join(f"{x:.2f}×" for x in ways["speedup"].values())
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of photographs; noise if absent")
    parser.add_argument("--bundle", type=Path, help="bundle whose answers are timed too")
    parser.add_argument("--network", help="backbone of an untrained network to time in place of a bundle")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "input_path.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
