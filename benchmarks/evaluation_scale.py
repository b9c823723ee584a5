"""How seconds and memory of `edgemate calibrate` and `edgemate evaluate` grow with the number of images.

    python benchmarks/evaluation_scale.py --images 10000 100000 1000000

Logits of a network with 4 exits are made up, and written as a training would, into a run in a temporary folder, which
takes 8 GB for a million images of 1,000 classes. Every command runs in a process of its own. Its peak memory is given
twice: as resident, which has libraries and mapped pages of files in it, and as anonymous, which it has allocated. A
pass over mapped logits is faster where the operating system still has the file in its cache.

Seconds are given twice as well: on the clock, and of the processor, which other work on the machine adds nothing to.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate import files
from edgemate.config import parse_recipe
from edgemate.machine import machine_metadata
from edgemate.models import build_model
from edgemate.runs import Run, RunMetadata, environment_metadata, write_tensors

EXITS = 4
BLOCK = 1000
RECIPE = {
    "data": {"name": "digits"},
    "model": {"backbone": "resnet18"},
    "distillation": {"method": "joint_ce"},
    "optimization": {"epochs": 1},
}
INPUT = {"channels": 1, "height": 8, "width": 8, "mean": [0.5], "std": [0.5]}
COMMANDS = {
    "calibrate": ["calibrate", "RUN"],
    "calibrate --risk 0.01": ["calibrate", "RUN", "--risk", "0.01"],
    "calibrate --solver msdnet": ["calibrate", "RUN", "--solver", "msdnet"],
    "calibrate --solver patience": ["calibrate", "RUN", "--solver", "patience"],
    "calibrate --solver eenet": ["calibrate", "RUN", "--solver", "eenet"],
    "evaluate": ["evaluate", "RUN"],
    "evaluate --thresholds 0.8": ["evaluate", "RUN", "--thresholds", "0.8"],
}
SAMPLED_EVERY = 0.05

Array = npt.NDArray[Any]


def main() -> None:
    options = _options()
    rows = []
    for images in options.images:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            start = time.perf_counter()
            run = make_run(Path(folder) / "run", images, options.classes)
            row = {
                "images": images,
                "bytes": run.logits_path("test").stat().st_size,
                "dtype": str(run.read_logits("test").logits.dtype),
                "written_seconds": time.perf_counter() - start,
                "commands": {},
            }
            print(f"{images:,} images: {row['bytes'] / 1e9:.2f} GB of {row['dtype']}")
            for name in options.commands:
                found = row["commands"][name] = measure(COMMANDS[name], run.path)
                print(
                    f"  {name:<28} {found['seconds']:7.1f} s "
                    f"{found['processor_seconds']:7.1f} s of processor "
                    f"{found['resident_bytes'] / 1e6:7.0f} MB resident "
                    f"{found['anonymous_bytes'] / 1e6:7.0f} MB anonymous",
                    flush=True,
                )
            rows.append(row)
    result = {
        "exits": EXITS,
        "classes": options.classes,
        "conditions": options.conditions,
        "machine": machine_metadata(),
        "rows": rows,
    }
    if options.output:
        files.write_json(options.output, result)


def make_run(path: Path, images: int, classes: int) -> Run:
    """A finished run with made-up logits, the same ones for both splits."""
    recipe = parse_recipe(RECIPE, "benchmark")
    model = build_model(recipe.model, recipe.exits, 1, classes)
    assert model.exits == EXITS
    run = Run.create(path)
    run.write_recipe(recipe)
    run.write_environment(environment_metadata())
    run.write_numerics({"precision": "fp32", "channels_last": False})
    write_tensors(run.model_path, model.state_dict())
    counts = {"train": 1, "calibration": images, "test": images}
    run.write_metadata(RunMetadata("digits", INPUT, tuple(f"class {i}" for i in range(classes)), model.cuts, counts))
    run.write_golden(np.zeros((1, 1, 8, 8), np.float32), np.zeros(1, np.int64))
    run.stream_logits("calibration", made_up(images, classes), images)
    os.link(run.logits_path("calibration"), run.logits_path("test"))
    run.write_metrics({})
    return run


def made_up(images: int, classes: int, seed: int = 0) -> Iterator[tuple[Array, Array]]:
    """Blocks of logits float32 (n, 4, classes) and labels int64 (n,).

    Exits share most of their noise, as those of a network do, and each knows the label better than the one before. Some
    images are hard for all. The noise is drawn for one block, and rotated over the classes for each, which is faster.
    """
    random = np.random.default_rng(seed)
    noise = random.standard_normal((BLOCK, EXITS, classes), dtype=np.float32)
    noise += 2 * random.standard_normal((BLOCK, 1, classes), dtype=np.float32)
    for start in range(0, images, BLOCK):
        count = min(BLOCK, images - start)
        labels = random.integers(0, classes, count)
        logits = np.roll(noise[:count], int(random.integers(classes)), axis=2)
        ease = random.gamma(3.0, 2.0, count).astype(np.float32)
        for exit in range(EXITS):
            logits[np.arange(count), exit, labels] += ease * np.float32(1 + 0.4 * exit)
        yield logits, labels


def measure(command: list[str], run: Path) -> dict[str, float]:
    """Seconds and peak memory of one command on a run."""
    given = [str(run) if part == "RUN" else part for part in command]
    start = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen([sys.executable, "-m", "edgemate", *given], stdout=subprocess.DEVNULL, stderr=errors)
        peaks = {"Rss": 0, "Anonymous": 0}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        while process.poll() is None:
            for name, size in _memory(process.pid).items():
                peaks[name] = max(peaks[name], size)
            time.sleep(SAMPLED_EVERY)
        seconds = time.perf_counter() - start
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        if process.returncode:
            errors.seek(0)
            sys.exit(f"{' '.join(given)}: {errors.read().decode().strip()}")
    return {
        "seconds": seconds,
        "processor_seconds": used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime,
        "resident_bytes": peaks["Rss"],
        "anonymous_bytes": peaks["Anonymous"],
    }


def _memory(process: int) -> dict[str, int]:
    """Resident and anonymous bytes of a process; nothing for one that has just ended."""
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {name: 1024 * int(size) for name, size in re.findall(r"^(Rss|Anonymous): +(\d+) kB$", text, re.MULTILINE)}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--commands", nargs="+", choices=list(COMMANDS), default=list(COMMANDS), metavar="COMMAND")
    parser.add_argument("--folder", type=Path, help="where to make the logits; default: the system's temporary folder")
    parser.add_argument("--conditions", default="", help="note for the result, such as: beside other work")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
