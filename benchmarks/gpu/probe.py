"""Which way of training is fastest on this machine: MATE's seconds per epoch, eager, compiled, and with CUDA graphs.

    python benchmarks/gpu/probe.py DATA --settings runs/cifar100/settings --output benchmarks/results/probe.json

Each way is the recipe as it is trained, ended after a few epochs. The fastest over the recipe's epochs, its first with
all compiling and those after it like the median of the others, is written to `--settings` as KEY=VALUE words, for a run
is only gone on with by the settings that it was begun with. The results are written after every way; one that fails, or
has no second epoch when its time is over, is named there and cannot win.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from edgemate import files
from edgemate.machine import machine_metadata

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "cifar100" / "resnet18_mate.yaml"
EPOCHS = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))["optimization"]["epochs"]
SETTINGS = ("data.options.download=false", "training.data_on_device=true", "training.checkpoint_every=5")
COMMAND = [sys.executable, "-m", "edgemate", "train"]
WAYS = {
    "eager": ("training.compile=false",),
    "compiled": ("training.compile=true",),
    "compiled, CUDA graphs": ("training.compile=true", "training.cuda_graphs=true"),
}


LIBC = ctypes.CDLL(None)
KEPT_BACK = 30.0
"""Seconds that no way may take from each of those after it; what is compiled once is there for the last."""


def main() -> None:
    options = _options()
    ends = time.monotonic() + options.seconds
    found: dict[str, dict[str, Any]] = {}
    for count, (way, settings) in enumerate(WAYS.items()):
        left = ends - time.monotonic() - KEPT_BACK * (len(WAYS) - 1 - count)
        found[way] = {"settings": list(settings), **_epochs(settings, options, left)}
        files.write_json(
            options.output,
            {
                "benchmark": "gpu/probe",
                "machine": machine_metadata(),
                "settings": [*SETTINGS, *options.set],
                "unit": "seconds, an epoch with its calibration",
                "results": found,
            },
        )
        print(f"{way}: {_told(found[way])}", flush=True)
    timed = {way: row["whole_run"] for way, row in found.items() if "whole_run" in row}
    if not timed:
        raise SystemExit(f"no way came to a second epoch; {options.output} says why")
    fastest = min(timed, key=lambda way: timed[way])
    files.write_text(options.settings, " ".join(WAYS[fastest]) + "\n")
    print(f"fastest: {fastest}; written to {options.settings}")


def _epochs(settings: tuple[str, ...], options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """What the first epochs took, or why there were none."""
    with tempfile.TemporaryDirectory() as folder:
        run, log = Path(folder) / "run", Path(folder) / "log"
        command = [*COMMAND, str(RECIPE), "--output", str(run)]
        for setting in (*SETTINGS, *settings, *options.set):
            command += ["--set", setting]
        environment = os.environ | {"EDGEMATE_DATA": str(options.data.resolve()), "PYTHONUNBUFFERED": "1"}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        ends = time.monotonic() + seconds
        with log.open("w", encoding="utf-8") as said:
            process = subprocess.Popen(
                command, stdout=said, stderr=subprocess.STDOUT, env=environment, cwd=ROOT, preexec_fn=_die_with_parent
            )
            try:
                while process.poll() is None and time.monotonic() < ends and len(_seconds(run)) < options.epochs:
                    time.sleep(0.2)
            finally:
                status = process.poll()
                if status is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        taken = _seconds(run)
        if status:
            last = log.read_text(encoding="utf-8").strip().splitlines()[-1:] or ["it said nothing"]
            return {"epochs": taken, "failed": f"exit status {status}: {last[0][:300]}"}
    if len(taken) < 2:
        return {"epochs": taken, "failed": f"no second epoch within {seconds:.0f} s"}
    later = statistics.median(taken[1:])
    return {"epochs": taken, "epoch": later, "whole_run": taken[0] + (EPOCHS - 1) * later}


def _die_with_parent() -> None:
    """In the child: a group of its own, so that its workers end with it, and death when this program is killed."""
    os.setpgid(0, 0)
    LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG of linux/prctl.h


def _seconds(run: Path) -> list[float]:
    history = run / "history.csv"
    if not history.is_file():
        return []
    return [float(row["seconds"]) for row in csv.DictReader(history.read_text(encoding="utf-8").splitlines())]


def _told(row: dict[str, Any]) -> str:
    if "failed" in row:
        return f"failed: {row['failed']}"
    return f"first epoch {row['epochs'][0]:.1f} s, then {row['epoch']:.2f} s; {EPOCHS} epochs {row['whole_run']:.0f} s"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the data")
    parser.add_argument("--settings", type=Path, required=True, help="where the fastest way's settings go")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="laid over the recipe")
    parser.add_argument("--epochs", type=int, default=3, help="of each way, the first among them")
    parser.add_argument("--seconds", type=float, default=150, help="for all ways together")
    return parser.parse_args()


if __name__ == "__main__":
    main()
