"""What reads a bundle: its manifest, arrays, graphs, policies, latency tables and engines."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from bundles import write_small_bundle
from fake_tensorrt import opened
from scripted_backend import StoredBackend

from edgemate import api
from edgemate.bundle import Bundle
from edgemate.calibration import read_operating_points
from edgemate.errors import EdgemateError
from edgemate.latency_tables import (
    LatencyTable,
    StopTimes,
    matching_latency_table,
    measured_devices,
    read_latency_table,
    write_latency_table,
)
from edgemate.runtime import AnytimeClassifier
from edgemate.runtime.backends.tensorrt.builder import build_bundle_engines
from edgemate.runtime.backends.tensorrt.loading import find_engines, open_engine
from edgemate.runtime.backends.tensorrt.options import BuildOptions
from edgemate.runtime.labeled import read_labeled
from fuzzing import archives, graphs, trees
from fuzzing.worker import Target

IMAGES = np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32)
LAYOUTS = ("segments", "segments", "segments", "prefixes", "conditional")


def bundle_targets(folder: Path) -> dict[str, Target]:
    """The targets, over a bundle that is written to `folder`."""
    bundle = write_small_bundle(folder / "bundle", conditional=True)
    build_bundle_engines(bundle, opened("10.3.0"), BuildOptions())
    times = [StopTimes(exit=k, mean_ms=k, quantiles_ms=(k,) * 103, segment_p99_ms=1) for k in (1, 2, 3)]
    write_latency_table(bundle, LatencyTable(device="board", machine={}, backend={}, repeats=9, exits=tuple(times)))
    content = {name: np.load(bundle.path / f"{name}.npz") for name in ("golden", "calibration")}
    arrays = {name: {key: found[key] for key in found.files} for name, found in content.items()}

    def copy(to: Path) -> Path:
        return Path(shutil.copytree(bundle.path, to / "bundle"))

    def manifest(random: Random, place: Path) -> None:
        own = copy(place)
        _rewrite(own / "bundle.json", random)
        found = Bundle.open(own, verify=random.random() < 0.5)
        shown = _either(api.inspect, own) if random.random() < 0.3 else None
        if shown is not None:
            json.dumps(shown.to_json())
        _either(found.golden)
        _either(found.calibration)
        _classify(own, random)

    def npz(random: Random, place: Path) -> None:
        own = copy(place)
        name = random.choice(list(arrays))
        (own / f"{name}.npz").write_bytes(archives.mutated(arrays[name], random))
        found = Bundle.open(own, verify=False)
        _either(found.golden)
        _either(found.calibration)
        labeled = {"x_test": (IMAGES[:, 0] * 30).astype(np.uint8), "y_test": np.arange(3)}
        (place / "own.npz").write_bytes(archives.mutated(labeled, random))
        read_labeled(place / "own.npz", bundle.manifest.classes)

    def onnx(random: Random, place: Path) -> None:
        own = copy(place)
        path = random.choice(sorted((own / "onnx").iterdir()))
        path.write_bytes(graphs.mutated(path.read_bytes(), random))
        layout = path.name.partition("_")[0].partition(".")[0].rstrip("s")
        kind: Any = {"segment": "segments", "prefix": "prefixes"}.get(layout, "conditional")
        with AnytimeClassifier.load(own, verify=False, threads=1, layout=kind) as classifier:
            classifier.classify(IMAGES)

    def policies(random: Random, place: Path) -> None:
        own = copy(place)
        _rewrite(own / "policies.json", random)
        found = Bundle.open(own, verify=False)
        points = read_operating_points(found)
        classifier = AnytimeClassifier(found, StoredBackend(arrays["golden"]["logits"][:3]))
        for point in points.points[:5]:
            json.dumps(point.model_dump(mode="json"))
            str(point.as_policy().description)
            _either(classifier.classify, IMAGES, point.name)
        _either(api.inspect, own)

    def latency(random: Random, place: Path) -> None:
        own = copy(place)
        _rewrite(own / "latency" / "board.json", random)
        found = Bundle.open(own, verify=False)
        matching_latency_table(found, {})
        for device in measured_devices(found):
            table = read_latency_table(found, device)
            np.isfinite(
                [*table.costs, *table.segment_ms, table.mean_ms((0.5, 0.3, 0.2)), table.p99_ms((0.5, 0.3, 0.2))]
            )
            _either(api.calibrate, own, device=device)

    def engines(random: Random, place: Path) -> None:
        own = copy(place)
        paths = sorted((own / "engines").rglob("*.json"))
        for path in random.sample(paths, random.choice((1, 1, len(paths)))):
            _rewrite(path, random)
        if random.random() < 0.2:
            os.truncate(random.choice(sorted((own / "engines").rglob("*.engine"))), random.randrange(10))
        found, trt = Bundle.open(own, verify=False), opened("10.3.0")
        for layout in ("segments", "prefixes", "conditional"):
            for engine in _either(find_engines, found, trt, layout) or ():
                open_engine(trt, engine)

    return {
        "manifest": manifest,
        "npz": npz,
        "onnx": onnx,
        "policies": policies,
        "latency": latency,
        "engines": engines,
    }


def _rewrite(path: Path, random: Random) -> None:
    path.write_bytes(trees.dump(trees.mutate(json.loads(path.read_bytes()), random), random))


def _either(function: Any, *given: Any, **options: Any) -> Any:
    """What it returns; None where it ends in one of edgemate's errors, after which others are still to be tried."""
    try:
        return function(*given, **options)
    except EdgemateError as error:
        str(error).encode()
        return None


def _classify(path: Path, random: Random) -> None:
    layout: Any = random.choice(LAYOUTS)
    with AnytimeClassifier.load(path, verify=False, threads=1, layout=layout) as classifier:
        height, width = min(classifier.input.height, 64), min(classifier.input.width, 64)
        classifier.classify(np.zeros((height, width, 3), np.uint8))
