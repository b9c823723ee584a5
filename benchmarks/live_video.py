"""Measure `edgemate run` on a generated video: age of answered frames, skipped frames, memory, and what --still saves.

    python benchmarks/live_video.py BUNDLE IMAGES

BUNDLE is a bundle, IMAGES a folder of images of its kind, such as `make demo` makes. The video shows each image for two
seconds with the noise of a sensor, and moves from one to the next in a sixth of a second. It is answered by a process
of its own: once in real time with a deadline, whose frames must be no older than one period and of which none may be
missing but those that were skipped and counted; then every frame, with each threshold of --still, in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from edgemate import files
from edgemate.core.image_search import find_images
from edgemate.machine import machine_metadata

NOISE = 4.0
"""Standard deviation of the generated sensor's noise, in steps of 8 bits."""
HOLD, MOVE = 60, 5
"""Frames for which an image is shown, and of the move to the next."""


def main() -> None:
    options = _options()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        video = _write_video(Path(folder) / "generated.mp4", options)
        if "real_time" in options.parts:
            found["real_time"] = _real_time(options, video)
            _print_real_time(found["real_time"])
        if "still" in options.parts:
            found["still"] = _still(options, video)
            _print_still(found["still"])
    kept = json.loads(options.output.read_text()) if options.output.exists() else {}
    result = {
        "benchmark": "live_video",
        "network": options.bundle.name,
        "machine": machine_metadata(),
        "threads": options.threads,
        "noise": NOISE,
        **{part: kept[part] for part in ("real_time", "still") if part in kept},
        **found,
    }
    files.write_json(options.output, result)
    real = found.get("real_time")
    if real is not None and (real["oldest_ms"] > real["period_ms"] or real["missing"]):
        sys.exit("a frame was too old, or is missing")


def _print_real_time(real: dict[str, Any]) -> None:
    print(
        f"real time, {real['frames']:,} frames at {real['rate']} fps: {real['answered']:,} answered, "
        f"{real['skipped']:,} skipped, oldest {real['oldest_ms']:.1f} ms (period {real['period_ms']:.1f}), memory grew "
        f"by {real['growth_mib']:.1f} MiB"
    )


def _print_still(rows: list[dict[str, Any]]) -> None:
    print(f"{'still':>8} {'kept':>8} {'mean ms':>9} {'saved':>8} {'differ':>8}")
    for row in rows:
        print(
            f"{row['threshold']:>8} {100 * row['kept']:>6.1f} % {row['mean_ms']:>9.3f} {100 * row['saved']:>6.1f} % "
            f"{100 * row['differ']:>6.2f} %"
        )


def _write_video(path: Path, options: argparse.Namespace) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=options.rate)
        stream.width = stream.height = options.size
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "fast", "crf": "18"}
        for pixels in islice(_frames(options), options.frames):
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def _frames(options: argparse.Namespace) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(options.seed)
    size = (options.size, options.size)
    files_found = find_images(options.images)
    shown = [np.asarray(Image.open(file).convert("RGB").resize(size, Image.Resampling.BICUBIC)) for file in files_found]
    while True:
        for before, after in zip(shown, [*shown[1:], shown[0]], strict=True):
            for step in range(HOLD + MOVE):
                moved = max(step - HOLD + 1, 0) * options.size // (MOVE + 1)
                clean = np.concatenate([before, after], axis=1)[:, moved : moved + options.size]
                noisy = clean + rng.normal(0, NOISE, clean.shape)
                yield np.clip(noisy, 0, 255).astype(np.uint8)


def _command(options: argparse.Namespace, video: Path, *more: str) -> list[str]:
    fixed = ["--source", str(video), "--threads", str(options.threads), "--no-reload"]
    return [sys.executable, "-m", "edgemate", "run", str(options.bundle), *fixed, *more]


def _real_time(options: argparse.Namespace, video: Path) -> dict[str, Any]:
    """The video in real time, and the memory of the process while it is answered."""
    with tempfile.TemporaryFile("w+") as output:
        command = _command(options, video, "--deadline-ms", str(options.deadline_ms))
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, text=True)
        memory = []
        while process.poll() is None:
            memory.append(_resident(process.pid))
            time.sleep(0.5)
        said = process.stderr.read() if process.stderr else ""
        if process.returncode:
            sys.exit(said)
        output.seek(0)
        answers = [json.loads(line) for line in output]
    settled = memory[len(memory) // 4 : -1]
    counted = said.splitlines()[0]
    skipped = options.frames - len(answers)
    return {
        "frames": options.frames,
        "rate": options.rate,
        "deadline_ms": options.deadline_ms,
        "answered": len(answers),
        "skipped": skipped,
        "missing": bool(skipped) and f"{skipped:,} skipped" not in counted,
        "summary": counted,
        "period_ms": 1000 / options.rate,
        "oldest_ms": max(answer["age_ms"] for answer in answers),
        "mean_age_ms": float(np.mean([answer["age_ms"] for answer in answers])),
        "late": sum(answer["late"] for answer in answers),
        "growth_mib": (max(settled) - settled[0]) / 2**20,
    }


def _still(options: argparse.Namespace, video: Path) -> list[dict[str, Any]]:
    """Every frame with each threshold, in turns; times are the mean over the rounds."""
    runs: dict[str, list[list[dict[str, Any]]]] = {}
    for _ in range(options.rounds):
        for threshold in ("off", *options.still):
            more = [] if threshold == "off" else ["--still", threshold]
            policy = ["--policy", options.policy, "--pace", "fastest"]
            done = subprocess.run(_command(options, video, *policy, *more), capture_output=True, text=True, check=True)
            runs.setdefault(threshold, []).append([json.loads(line) for line in done.stdout.splitlines()])
    plain = runs["off"][0]
    plain_ms = _mean_ms(runs["off"])
    return [
        {
            "threshold": threshold,
            "frames": len(rounds[0]),
            "kept": float(np.mean([answer.get("still", False) for answer in rounds[0]])),
            "mean_ms": _mean_ms(rounds),
            "saved": 1 - _mean_ms(rounds) / plain_ms,
            "differ": float(np.mean([a["label"] != b["label"] for a, b in zip(rounds[0], plain, strict=True)])),
        }
        for threshold, rounds in runs.items()
    ]


def _mean_ms(rounds: list[list[dict[str, Any]]]) -> float:
    return float(np.mean([answer["milliseconds"] for answers in rounds for answer in answers]))


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--parts", nargs="+", choices=("real_time", "still"), default=["real_time", "still"])
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--rate", type=int, default=30)
    parser.add_argument("--size", type=int, default=64, help="pixels a side of the video")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--deadline-ms", type=float, default=5.0)
    parser.add_argument("--policy", default="full", help="of the comparison of --still")
    parser.add_argument("--still", nargs="+", default=["0.02", "0.05", "0.1", "0.2"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "live_video.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
