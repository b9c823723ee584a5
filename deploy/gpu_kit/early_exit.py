"""Measure early exit in PyTorch: test images of a run with segments really skipped, against the whole network.

    python deploy/gpu_kit/early_exit.py runs/cifar100/resnet18_mate-seed0 --device cuda

Thresholds are calibrated on the stored logits of the calibration split with the measured time to stop at each exit,
for at most half a point less accuracy. Then every batch of test images runs through the segments with early exit, and
through the prefix of the last exit, which has no earlier heads, in turn.

The results are written after every precision and batch size, batch size 1 first. A failure is listed with its reason.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgemate import files
from edgemate.calibration import CalibrationOptions, Request, calibrate
from edgemate.evaluation import trained_model
from edgemate.models import MultiExitModel
from edgemate.models.multi_exit import Prefix, Segment
from edgemate.policies import FixedExit, Policy
from edgemate.profiling.sampled_images import sample_test_split
from edgemate.runs import Run, environment_metadata
from edgemate.runtime import Latency

MAX_DROP = 0.005
TARGET_SPEED_UP = 1.5
WARMUP = 50
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def main() -> None:
    options = _options()
    run = Run.open(options.run)
    images, labels = sample_test_split(run, options.images)
    machine = environment_metadata()
    machine.pop("command")
    name = re.sub(r"[^a-z0-9]+", "-", machine["gpus"][0].lower()).strip("-") if options.device == "cuda" else "cpu"
    metadata = {
        "benchmark": "gpu_kit/early_exit",
        "run": run.name,
        "machine": machine,
        "tf32": {"matmul": torch.backends.cuda.matmul.allow_tf32, "convolutions": torch.backends.cudnn.allow_tf32},
        "images": len(images),
        "unit": "ms per batch, from a tensor on the device to classes on the host",
        "max_points_lost": 100 * MAX_DROP,
        "target_speed_up": TARGET_SPEED_UP,
    }
    rows: list[dict[str, Any]] = []
    for size in options.batch:
        for precision in options.precisions:
            row: dict[str, Any] = {"precision": precision, "batch": size}
            try:
                row |= _measure(run, torch.from_numpy(images), labels, precision, size, options.device)
            except Exception as error:  # continue with the other rows
                row["failed"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            rows.append(row)
            print(_line(row), flush=True)
            files.write_json(options.output / f"early_exit_torch_{name}.json", {**metadata, "results": rows})
    print(f"target: {TARGET_SPEED_UP:g} × at batch 1, at most {100 * MAX_DROP:g} points lost")


def _line(row: dict[str, Any]) -> str:
    line = f"{row['precision']}, batch {row['batch']:>3}: "
    if "failed" in row:
        return line + f"failed: {row['failed']}"
    return line + (
        f"top-1 {row['whole']['accuracy']:.4f} in {row['whole']['mean']:.3f} ms, {row['early']['accuracy']:.4f} in "
        f"{row['early']['mean']:.3f} ms: {row['speed_up']:.2f} × as fast; "
        f"fractions {' '.join(f'{fraction:.3f}' for fraction in row['fractions'])}"
    )


@torch.inference_mode()
def _measure(run: Run, images: Tensor, labels: np.ndarray, precision: str, size: int, device: str) -> dict[str, Any]:
    network = _Network(trained_model(run), device, DTYPES[precision])
    blocks = [network.place(images[start : start + size]) for start in range(0, len(images) - size + 1, size)]
    exits = range(1, network.exits + 1)
    costs = [_typical(partial(network.early, blocks[0], FixedExit(exit)), device) for exit in exits]
    # Timing noise must not make a later exit cheaper.
    costs = np.maximum.accumulate(np.array(costs) + np.arange(network.exits) * 1e-6).tolist()
    request = Request("early", max_drop=MAX_DROP)
    stored = run.read_logits("calibration")
    point = calibrate(*stored, costs, CalibrationOptions([request], fit_temperatures=False)).points.get("early")
    found = _in_turn(network, blocks, point.as_policy(), device)
    known = labels[: len(blocks) * size]
    timed = {name: found[name]["times"] for name in ("whole", "early")}
    correct = {name: float(np.mean(np.array(found[name]["classes"]) == known)) for name in timed}
    stops = np.bincount(found["early"]["exits"], minlength=network.exits + 1)[1:]
    return {
        "ms_to_stop_at_exit": costs,
        "thresholds": list(point.thresholds or ()),
        **{name: {**asdict(Latency.of(times)), "accuracy": correct[name]} for name, times in timed.items()},
        "fractions": (stops / len(known)).tolist(),
        "speed_up": float(np.mean(timed["whole"]) / np.mean(timed["early"])),
        "points_lost": 100 * (correct["whole"] - correct["early"]),
    }


class _Network:
    """The segments, and the whole network as one prefix, on a device."""

    def __init__(self, model: MultiExitModel, device: str, dtype: torch.dtype) -> None:
        model = model.to(device, dtype).to(memory_format=torch.channels_last).eval()
        self.exits = model.exits
        self._device, self._dtype = device, dtype
        self._segments = [Segment(model, exit) for exit in range(1, model.exits + 1)]
        self._whole = Prefix(model, model.exits)

    def place(self, images: Tensor) -> Tensor:
        return images.to(self._device, self._dtype).contiguous(memory_format=torch.channels_last)

    def whole(self, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Classes int64 (N,) by the last exit, and the exits int64 (N,), all of them the last."""
        classes = self._whole(images).argmax(1).cpu().numpy()
        return classes, np.full(len(classes), self.exits)

    def early(self, images: Tensor, policy: Policy) -> tuple[np.ndarray, np.ndarray]:
        """Classes int64 (N,) and the exit int64 (N,) at which each image stopped; a stopped image leaves the batch."""
        decider = policy.begin(len(images), self.exits)
        features = {"image": images}
        left = np.arange(len(images))
        classes, exits = np.empty(len(images), np.int64), np.empty(len(images), np.int64)
        started = time.perf_counter()
        for exit, segment in enumerate(self._segments, 1):
            features, logits = segment(features)
            host = logits.float().cpu().numpy()
            if exit == self.exits:
                stop = np.ones(len(left), bool)
            else:
                stop = decider.stop(exit, host, 1e3 * (time.perf_counter() - started))
            classes[left[stop]], exits[left[stop]] = host[stop].argmax(1), exit
            if stop.all():
                break
            if stop.any():
                kept = np.flatnonzero(~stop)
                decider.keep(kept)
                left = left[kept]
                chosen = torch.from_numpy(kept).to(self._device)
                features = {name: tensor[chosen] for name, tensor in features.items()}
        return classes, exits


def _in_turn(network: _Network, blocks: list[Tensor], policy: Policy, device: str) -> dict[str, dict[str, list[Any]]]:
    found: dict[str, dict[str, list[Any]]] = {
        name: {"times": [], "classes": [], "exits": []} for name in ("whole", "early")
    }
    calls: dict[str, Callable[[Tensor], tuple[np.ndarray, np.ndarray]]] = {
        "whole": network.whole,
        "early": lambda images: network.early(images, policy),
    }
    for block in blocks[:WARMUP]:
        for call in calls.values():
            call(block)
    for block in blocks:
        for name, call in calls.items():
            _wait(device)
            started = time.perf_counter_ns()
            classes, exits = call(block)
            found[name]["times"].append((time.perf_counter_ns() - started) * 1e-6)
            found[name]["classes"].extend(classes.tolist())
            found[name]["exits"].extend(exits.tolist())
    return found


def _typical(call: Callable[[], object], device: str, repeats: int = 30) -> float:
    """Median milliseconds."""
    times = []
    for _ in range(repeats):
        _wait(device)
        started = time.perf_counter_ns()
        call()
        times.append((time.perf_counter_ns() - started) * 1e-6)
    return float(np.median(times[repeats // 3 :]))


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precisions", type=lambda text: text.split(","), default=["fp16", "bf16", "fp32"])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--images", type=int, default=10_000, help="of the test split")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[2] / "benchmarks" / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
