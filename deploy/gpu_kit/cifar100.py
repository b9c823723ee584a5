"""Train ResNet-18 on CIFAR-100 by several methods and seeds, over any number of sessions.

    python deploy/gpu_kit/cifar100.py DATA [--seconds 570]

DATA is a folder with cifar100.npz or cifar-100-python. Every run is `edgemate train RECIPE --resume` into its own
folder, with a checkpoint after every fifth epoch: however this program ends, the next start resumes from there. Runs
are ordered by seed, then by method. `cifar100_resnet18.json` and a table of the finished runs are written atomically
every few seconds; `--collect` only writes these.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import yaml

from edgemate import files

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes" / "cifar100"
METHODS = ("mate", "joint_ce", "eed", "byot", "dks", "beed")
# The machine has no network, the images fit on any GPU, and writing a checkpoint takes a large part of an epoch's time.
SETTINGS = ("data.options.download=false", "data.cache=device", "training.checkpoint_every=5")
LIBC = ctypes.CDLL(None)
POLL = 1.0
REFRESH = 20.0
"""POLL and REFRESH: seconds between two checks of the trainings, and between two writes of the results."""


def main() -> None:
    options = _options()
    options.runs.mkdir(parents=True, exist_ok=True)
    if options.collect:
        _count_macs(options)
        _write_results(options)
        return
    with _alone(options.runs):
        failed = _train(options)
        _write_results(options)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}; their output is in {options.runs}/*.log")


@dataclass
class Training:
    """A run in training: its name, process and log."""

    name: str
    process: subprocess.Popen[bytes]
    log: TextIO = field(repr=False)


def _train(options: argparse.Namespace) -> list[str]:
    """Train the unfinished runs until the time is up. Returns the names of the runs that failed."""
    ends = time.monotonic() + options.seconds if options.seconds else float("inf")
    waiting = [
        (method, seed)
        for seed in options.seeds
        for method in options.methods
        if not _finished(_folder(options, method, seed))
    ]
    busy: list[Training] = []
    failed: list[str] = []
    counted = False
    written = time.monotonic()
    while waiting or busy:
        if time.monotonic() >= ends:
            print("time is up; the same command resumes from the last checkpoints")
            break
        while waiting and len(busy) < options.jobs:
            busy.append(_start(options, *waiting.pop(0)))
        if not counted:
            _count_macs(options)  # while the first run trains
            counted = True
        time.sleep(min(POLL, max(0.0, ends - time.monotonic())))
        for training in [training for training in busy if training.process.poll() is not None]:
            busy.remove(training)
            training.log.close()
            status = training.process.returncode
            print(f"{training.name}: {'finished' if status == 0 else f'failed with exit status {status}'}", flush=True)
            if status:
                failed.append(training.name)
            written = 0.0
        if time.monotonic() - written > REFRESH:
            _write_results(options, quiet=True)
            written = time.monotonic()
    for training in busy:
        # Nothing to clean up: a run is consistent at any moment, up to its last checkpoint.
        os.killpg(training.process.pid, signal.SIGKILL)
        training.process.wait()
        training.log.close()
    return failed


def _start(options: argparse.Namespace, method: str, seed: int) -> Training:
    folder = _folder(options, method, seed)
    if folder.exists() and not (folder / "recipe.yaml").is_file():
        shutil.rmtree(folder)  # killed before its recipe was written
    settings = [*SETTINGS, f"training.seed={seed}", *options.set]
    command = [sys.executable, "-m", "edgemate", "train", f"recipes/cifar100/resnet18_{method}.yaml"]
    command += ["--output", os.path.relpath(folder, ROOT), "--resume"]
    for setting in settings:
        command += ["--set", setting]
    environment = os.environ | {"EDGEMATE_DATA": str(options.data.resolve()), "PYTHONUNBUFFERED": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    log = folder.with_suffix(".log").open("a", encoding="utf-8")
    print(f"{folder.name}: {'resumed' if folder.exists() else 'started'}", flush=True)
    process = subprocess.Popen(
        command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=ROOT, preexec_fn=_die_with_parent
    )
    return Training(folder.name, process, log)


def _die_with_parent() -> None:
    """In the child: start a process group, so that its workers end with it, and die when this program is killed."""
    os.setpgid(0, 0)
    # PR_SET_PDEATHSIG of linux/prctl.h. A training that outlived its parent would write into the folder of the next
    # one.
    LIBC.prctl(1, signal.SIGKILL)


@contextmanager
def _alone(runs: Path) -> Iterator[None]:
    """Lock the folder of runs. The lock is released when the process ends, however it ends."""
    with (runs / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"{runs}: another cifar100.py is running; wait for it, or choose another --runs") from None
        yield


# --- results ---


def _write_results(options: argparse.Namespace, quiet: bool = False) -> None:
    runs = [
        _result(folder, method, seed)
        for seed in options.seeds
        for method in options.methods
        if (folder := _folder(options, method, seed)).is_dir() and (folder / "recipe.yaml").is_file()
    ]
    machine = next((_read(options.runs / run["run"] / "environment.json") for run in reversed(runs)), {})
    machine.pop("command", None)
    found = {
        "benchmark": "gpu_kit/cifar100",
        "command": ["deploy/gpu_kit/cifar100.sh", *sys.argv[2:]],
        "settings": [*SETTINGS, *options.set],
        "jobs": options.jobs,
        "machine": machine,
        "macs": json.loads(path.read_text(encoding="utf-8")) if (path := _macs_path(options)).is_file() else None,
        "unit": "accuracies are fractions, with the weights of the last epoch; images per second without calibration",
        "runs": runs,
    }
    written = options.results / "cifar100_resnet18.json"
    files.write_json(written, found)
    table = _table(found)
    files.write_text(written.with_suffix(".md"), table)
    if not quiet:
        print(table)
        print(f"written: {written}")


def _result(folder: Path, method: str, seed: int) -> dict[str, Any]:
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    images = _read(folder / "metadata.json").get("images", {})
    history, speed = _rows(folder / "history.csv"), _rows(folder / "speed.csv")
    metrics = _read(folder / "metrics.json")
    found: dict[str, Any] = {
        "run": folder.name,
        "method": method,
        "seed": seed,
        "epochs": len(history),
        "total_epochs": recipe["optimization"]["epochs"],
        "finished": _finished(folder),
        "training_images": images.get("train"),
        "calibration_images": images.get("calibration"),
        "training": recipe["training"],
        "batch_size": recipe["optimization"]["batch_size"],
        "epoch_seconds": sum(row["seconds"] for row in history),
    }
    if speed:
        found |= {
            "images_per_second": float(np.median([row["images"] / row["seconds"] for row in speed])),
            "data_wait_fraction": sum(row["data_seconds"] for row in speed) / sum(row["seconds"] for row in speed),
            "peak_memory_bytes": int(max(row["memory_bytes"] for row in speed)),
        }
    if history:
        last = {
            name.removeprefix("calibration/"): value for name, value in history[-1].items() if "calibration/" in name
        }
        found["calibration"] = {name: last[name] for name in last if name.startswith("exit") or name == "ensemble"}
    if metrics:
        found["test"] = metrics["accuracy"]["test"]
    return found


def _count_macs(options: argparse.Namespace) -> None:
    """Write the MACs per exit to a file, once: all methods have the same network."""
    path = _macs_path(options)
    if path.is_file():
        return
    from edgemate.config import load_recipe
    from edgemate.models import build_model, count_costs

    recipe = load_recipe(RECIPES / f"resnet18_{options.methods[0]}.yaml", options.set)
    try:
        costs = count_costs(build_model(recipe.model, recipe.exits, 3, 100), (3, 32, 32)).exits
    except ImportError as error:
        print(f"MACs not counted ({error}); run --collect where fvcore is installed")
        return
    files.write_json(
        path, [{"exit": cost.exit, "macs": cost.macs, "chained_macs": cost.chained_macs} for cost in costs]
    )


def _table(found: dict[str, Any]) -> str:
    """Markdown table: mean ± sample standard deviation over the finished seeds, in percent, with MACs of the exits."""
    macs = found["macs"] or []
    groups: dict[str, list[dict[str, Any]]] = {}
    for run in found["runs"]:
        if run["finished"]:
            groups.setdefault(run["method"], []).append(run)
    exits = max((len(run["test"]["exits"]) for runs in groups.values() for run in runs), default=0)
    heads = [f"exit {k}" + (f" ({macs[k - 1]['macs'] / 1e6:.0f} M)" if macs else "") for k in range(1, exits + 1)]
    lines = [
        f"| method | seeds | training images | {' | '.join([*heads, 'ensemble'])} |",
        "|" + "---|" * (exits + 4),
    ]
    for method, runs in groups.items():
        columns = np.array([[*run["test"]["exits"], run["test"]["ensemble"]] for run in runs]) * 100
        cells = [f"{mean:.2f}" for mean in columns.mean(0)]
        if len(runs) > 1:
            cells = [f"{cell} ± {spread:.2f}" for cell, spread in zip(cells, columns.std(0, ddof=1), strict=True)]
        trained_on = " or ".join(sorted({_count(run["training_images"]) for run in runs}))
        lines.append(f"| {method} | {len(runs)} | {trained_on} | {' | '.join(cells)} |")
    unfinished = [
        f"{run['run']} ({run['epochs']} of {run['total_epochs']} epochs)"
        for run in found["runs"]
        if not run["finished"]
    ]
    if not groups:
        lines = ["no run has finished"]
    elif held_out := sorted({run["calibration_images"] or 0 for run in found["runs"]} - {0}):
        lines += ["", f"calibration images, held out of the training images: {', '.join(map(_count, held_out))}"]
    if unfinished:
        lines += ["", f"not finished: {', '.join(unfinished)}"]
    return "\n".join(lines) + "\n"


def _count(images: int | None) -> str:
    return "unknown" if images is None else f"{images:,}"


def _finished(folder: Path) -> bool:
    return (folder / "metrics.json").is_file()  # written last


def _folder(options: argparse.Namespace, method: str, seed: int) -> Path:
    folder: Path = options.runs / f"resnet18_{method}-seed{seed}"
    return folder


def _macs_path(options: argparse.Namespace) -> Path:
    path: Path = options.runs / "macs.json"
    return path


def _rows(path: Path) -> list[dict[str, float]]:
    if not path.is_file():
        return []
    return [
        {name: float(value) for name, value in row.items() if value}
        for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    ]


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the data")
    parser.add_argument("--seconds", type=float, help="stop after this time; default: when all runs are trained")
    parser.add_argument("--methods", type=lambda text: text.split(","), default=list(METHODS))
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="runs trained at the same time, on one GPU")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override recipe settings")
    parser.add_argument("--runs", type=Path, default=Path(os.environ.get("RUNS", ROOT / "runs" / "cifar100")))
    parser.add_argument(
        "--results", type=Path, default=Path(os.environ.get("RESULTS", ROOT / "benchmarks" / "results"))
    )
    parser.add_argument("--collect", action="store_true", help="train nothing")
    options = parser.parse_args()
    options.runs, options.results = options.runs.resolve(), options.results.resolve()
    if not options.data.is_dir():
        parser.error(f"{options.data}: folder not found; it must contain cifar100.npz or cifar-100-python")
    for method in options.methods:
        if not (RECIPES / f"resnet18_{method}.yaml").is_file():
            parser.error(f"--methods: recipes/cifar100/resnet18_{method}.yaml not found")
    return options


if __name__ == "__main__":
    main()
