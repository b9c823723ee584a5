"""Writing a model repository: one model per segment, and one that runs them up to the exit where an image stops."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from edgemate import files
from edgemate.bundle import Bundle
from edgemate.bundle.model_repository import CONFIG_FILE, check_repository
from edgemate.calibration import read_operating_points
from edgemate.errors import BundleError, ExportError
from edgemate.exporting.triton.configs import exits_config, segment_config
from edgemate.policies import FixedExit, Policy
from edgemate.policies.patience import Patience
from edgemate.policies.score_policy import ScorePolicy
from edgemate.runtime.backends.wiring import wire
from edgemate.swapping import new_folder, put_in_place

Platform = Literal["onnxruntime", "tensorrt"]

_FILES: dict[Platform, tuple[str, str]] = {
    "onnxruntime": ("onnxruntime_onnx", "model.onnx"),
    "tensorrt": ("tensorrt_plan", "model.plan"),
}
"""Triton's name of the platform, and of the file that it runs."""


def write_repository(
    bundle: Bundle, folder: Path, *, platform: Platform, engines: Sequence[Path], max_batch: int, overwrite: bool
) -> Path:
    """Write the repository of a bundle.

    Args:
        bundle: with layout `segments` and operating points.
        folder: of the repository.
        platform: what runs the segments: their ONNX files, or `engines`.
        engines: TensorRT's, one per segment, in order; for `tensorrt`.
        max_batch: the largest batch that Triton may make.
        overwrite: replace a repository that is there.

    Returns:
        The folder.

    Raises:
        BundleError: the folder exists and may not be replaced; or the bundle has no segments or operating points.
        ExportError: none of its operating points can be run by the repository.
    """
    check_repository(folder, overwrite=overwrite)
    manifest = bundle.manifest
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", manifest.name)
    segments = manifest.graphs.get("segments")
    if segments is None:
        raise BundleError(f"{bundle.path}: has no segments, which a model repository is made of")
    kind, file = _FILES[platform]
    plan = _plan(bundle, name)
    with new_folder(folder) as made:
        for number, graph in enumerate(segments):
            model = made / f"{name}_segment_{graph.exit}"
            (model / "1").mkdir(parents=True)
            shutil.copyfile(engines[number] if platform == "tensorrt" else bundle.graph(graph), model / "1" / file)
            _write(model / CONFIG_FILE, segment_config(model.name, kind, graph, max_batch))
        model = made / name
        (model / "1").mkdir(parents=True)
        shutil.copyfile(Path(__file__).with_name("model.py"), model / "1" / "model.py")
        files.write_json(model / "1" / "plan.json", plan)
        _write(model / CONFIG_FILE, exits_config(name, manifest.input, len(manifest.classes), max_batch))
        put_in_place(made, folder)
    return folder


def _plan(bundle: Bundle, name: str) -> dict[str, Any]:
    """What `model.py` reads: the segments in order, and the operating points that it can run."""
    manifest = bundle.manifest
    points = read_operating_points(bundle)
    fitted = None if points.temperatures is None else [found.temperature for found in points.temperatures]
    runnable = {}
    for point in points.points:
        policy = point.as_policy()
        described = _described(policy if fitted is None else policy.with_temperatures(fitted[:-1]), len(manifest.exits))
        if described is not None:
            runnable[point.name] = described
    if not runnable:
        raise ExportError(
            f"{bundle.path}: no operating point is one that a model repository can run (confidence, entropy, margin, "
            f"patience, fixed): {', '.join(points.names())}"
        )
    segments = manifest.graphs["segments"]
    taken = [{tensor.name for tensor in graph.inputs} for graph in segments]
    return {
        "segments": [
            {
                "model": f"{name}_segment_{graph.exit}",
                "takes": list(step.takes),
                "gives": list(step.gives),
                "later": sorted(set().union(*taken[number + 1 :])),
            }
            for number, (graph, step) in enumerate(zip(segments, wire(segments), strict=True))
        ],
        "classes": list(manifest.classes),
        "temperatures": fitted,
        "default": "balanced" if "balanced" in runnable else next(iter(runnable)),
        "points": runnable,
    }


def _described(policy: Policy, exits: int) -> dict[str, Any] | None:
    """A policy in the plan; None for one that `model.py` does not know."""
    if isinstance(policy, FixedExit):
        return {"policy": "fixed", "exit": policy.exit}
    if isinstance(policy, Patience):
        return {"policy": "patience", "patience": policy.patience}
    if isinstance(policy, ScorePolicy) and policy.name in ("confidence", "entropy", "margin"):
        temperatures = None if policy.temperature is None else list(policy.temperatures(exits))
        return {"policy": policy.name, "thresholds": list(policy.thresholds(exits)), "temperatures": temperatures}
    return None


def _write(path: Path, text: str) -> None:
    files.write_bytes(path, text.encode())
