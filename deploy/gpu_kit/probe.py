"""Find the fastest way to train on this machine: seconds per epoch of MATE, eager, compiled, and with CUDA graphs.

    python deploy/gpu_kit/probe.py DATA --settings runs/cifar100/settings --output benchmarks/results/probe.json

Each mode trains the full recipe and is stopped after a few epochs. The time of a whole run is estimated as the first
epoch, which includes compilation, plus the median of the later ones for all others. The settings of the fastest mode
are written to `--settings` as KEY=VALUE words, since a run resumes only with the settings it was started with. The
results are written after every mode. A mode that fails, or has no second epoch when its time is up, is listed with
the reason and cannot win.
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
SETTINGS = ("data.options.download=false", "data.cache=device", "training.checkpoint_every=5")
COMMAND = [sys.executable, "-m", "edgemate", "train"]
MODES = {
    "eager": ("training.compile=false",),
    "compiled": ("training.compile=true",),
    "compiled, CUDA graphs": ("training.compile=true", "training.cuda_graphs=true"),
}


LIBC = ctypes.CDLL(None)
RESERVED = 30.0
"""Seconds reserved for each later mode; compiled code is cached, so the last mode needs few."""


def main() -> None:
    options = _options()
    ends = time.monotonic() + options.seconds
    found: dict[str, dict[str, Any]] = {}
    for count, (mode, settings) in enumerate(MODES.items()):
        left = ends - time.monotonic() - RESERVED * (len(MODES) - 1 - count)
        found[mode] = {"settings": list(settings), **_epochs(settings, options, left)}
        files.write_json(
            options.output,
            {
                "benchmark": "gpu_kit/probe",
                "machine": machine_metadata(),
                "settings": [*SETTINGS, *options.set],
                "unit": "seconds; an epoch includes the evaluation of the calibration split",
                "results": found,
            },
        )
        print(f"{mode}: {_summary(found[mode])}", flush=True)
    timed = {mode: row["whole_run"] for mode, row in found.items() if "whole_run" in row}
    if not timed:
        raise SystemExit(f"no mode completed a second epoch; the reasons are in {options.output}")
    fastest = min(timed, key=lambda mode: timed[mode])
    files.write_text(options.settings, " ".join(MODES[fastest]) + "\n")
    print(f"fastest: {fastest}; written to {options.settings}")


def _epochs(settings: tuple[str, ...], options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """Seconds of the first epochs and the estimated whole run, or the reason of the failure."""
    with tempfile.TemporaryDirectory() as folder:
        run, log = Path(folder) / "run", Path(folder) / "log"
        command = [*COMMAND, str(RECIPE), "--output", str(run)]
        for setting in (*SETTINGS, *settings, *options.set):
            command += ["--set", setting]
        environment = os.environ | {"EDGEMATE_DATA": str(options.data.resolve()), "PYTHONUNBUFFERED": "1"}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        ends = time.monotonic() + seconds
        with log.open("w", encoding="utf-8") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=ROOT, preexec_fn=_die_with_parent
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
            last = log.read_text(encoding="utf-8").strip().splitlines()[-1:] or ["no output"]
            return {"epochs": taken, "failed": f"exit status {status}: {last[0][:300]}"}
    if len(taken) < 2:
        return {"epochs": taken, "failed": f"no second epoch within {seconds:.0f} s"}
    later = statistics.median(taken[1:])
    return {"epochs": taken, "epoch": later, "whole_run": taken[0] + (EPOCHS - 1) * later}


def _die_with_parent() -> None:
    """In the child: start a process group, so that its workers end with it, and die when this program is killed."""
    os.setpgid(0, 0)
    LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG of linux/prctl.h


def _seconds(run: Path) -> list[float]:
    history = run / "history.csv"
    if not history.is_file():
        return []
    return [float(row["seconds"]) for row in csv.DictReader(history.read_text(encoding="utf-8").splitlines())]


def _summary(row: dict[str, Any]) -> str:
    if "failed" in row:
        return f"failed: {row['failed']}"
    return f"first epoch {row['epochs'][0]:.1f} s, then {row['epoch']:.2f} s; {EPOCHS} epochs {row['whole_run']:.0f} s"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the data")
    parser.add_argument("--settings", type=Path, required=True, help="output file for the settings of the fastest mode")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override recipe settings")
    parser.add_argument("--epochs", type=int, default=3, help="of each mode, including the first")
    parser.add_argument("--seconds", type=float, default=150, help="for all modes together")
    return parser.parse_args()


if __name__ == "__main__":
    main()
