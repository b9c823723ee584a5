"""Compare `uda_kd` on a shifted domain with training (`joint_ce`) and distillation (`kd`) on the source alone.

    python benchmarks/uda_kd.py --jobs 2

The source is clean Fashion-MNIST with labels; the target is other images of it, corrupted, without labels. Accuracy
is measured on the corrupted test split. There are two shifts: `hazy` (less contrast, blurred, noisy) and `negative`
(inverted, blurred, noisy). One teacher per seed, trained on the source, is shared by all. After an interruption, the
same command resumes.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from run_trainings import run_trainings

from edgemate import files
from edgemate.comparison.running import Training
from edgemate.config import parse_recipe
from edgemate.config.loading import read_tree
from edgemate.config.merging import merge, parse_overrides
from edgemate.machine import machine_metadata
from edgemate.runs import Run

HERE = Path(__file__).parent
RECIPES = HERE.parent / "recipes" / "fashion_mnist"
BLURRED_AND_NOISY = [{"gaussian_blur": {"sigma": 1.0}}, {"gaussian_noise": {"sigma": 0.1}}]
SHIFTS: dict[str, list[Any]] = {
    "hazy": [{"contrast": {"factor": 0.5}}, *BLURRED_AND_NOISY],
    "negative": ["invert", *BLURRED_AND_NOISY],
}
METHODS = {"joint_ce": "source only", "kd": "KD on the source", "uda_kd": "UDA + KD"}


@dataclass(frozen=True)
class Case:
    """One run: a method on a shift, or the teacher of a seed."""

    seed: int
    method: str = "teacher"
    shift: str = "hazy"

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return f"teacher-seed{self.seed}" if self.method == "teacher" else f"{self.shift}-{self.method}-seed{self.seed}"


def main() -> None:
    options = _options()
    students = [
        Case(seed, method, shift)
        for shift in options.shifts
        for seed in (options.seeds if shift == options.shifts[0] else options.seeds[: options.further_seeds])
        for method in METHODS
    ]
    teachers = [Case(seed) for seed in options.seeds]
    for wave in (teachers, students):
        trainings = [_training(case, options) for case in wave]
        missing = [training for training in trainings if not Run(training.folder).finished]
        threads = run_trainings(missing, jobs=options.jobs, finished=_report)

    rows = [_row(case, options.runs) for case in [*teachers, *students]]
    metadata = Run(options.runs / students[0].name).read_metadata()
    found = {
        "benchmark": "uda_kd",
        "machine": machine_metadata(),
        "jobs": options.jobs,
        "threads": threads,
        "overrides": options.set,
        "images": metadata.images,
        "shifts": {shift: SHIFTS[shift] for shift in options.shifts},
        "results": rows,
    }
    text = _markdown(found)
    files.write_json(options.output, found)
    files.write_text(options.output.with_suffix(".md"), text)
    print(text)


def _training(case: Case, options: argparse.Namespace) -> Training:
    tree = merge(read_tree(RECIPES / f"resnet8_shift_{case.method}.yaml"), parse_overrides(options.set))
    settings: dict[str, Any] = {
        "training": {"seed": case.seed},
        "data": {"unlabeled": {"corruptions": SHIFTS[case.shift]}},
    }
    if case.method in ("kd", "uda_kd"):
        settings["distillation"] = {"teacher": str((options.runs / Case(case.seed).name).resolve())}
    recipe = parse_recipe(merge(tree, settings), case.name).model_dump(mode="json")
    resolved = options.runs / "recipes" / f"{case.name}.yaml"
    files.write_text(resolved, yaml.safe_dump(recipe, sort_keys=False))
    return Training(case.name, resolved, options.runs / case.name, options.runs / "logs" / f"{case.name}.log")


def _row(case: Case, runs: Path) -> dict[str, Any]:
    run = Run.open(runs / case.name)
    metrics = run.read_metrics()
    accuracy = metrics["accuracy"]
    return {
        "shift": None if case.method == "teacher" else case.shift,
        "method": case.method,
        "seed": case.seed,
        "target": accuracy["target_test"]["exits"] if case.method != "teacher" else None,
        "target_ensemble": accuracy["target_test"]["ensemble"] if case.method != "teacher" else None,
        "source": accuracy["test"]["exits"],
        "train_seconds": metrics["train_seconds"],
    }


def _report(training: Training, seconds: float) -> None:
    accuracy = Run(training.folder).read_metrics()["accuracy"]
    shown = {
        split: " ".join(f"{100 * fraction:.2f}" for fraction in accuracy[split]["exits"])
        for split in ("target_test", "test")
    }
    print(f"{training.name}: target {shown['target_test']} %, source {shown['test']} %, {seconds:.0f} s", flush=True)


def _markdown(found: dict[str, Any]) -> str:
    images, machine = found["images"], found["machine"]
    lines = [
        "# Unsupervised domain adaptation with distillation, Fashion-MNIST",
        "",
        f"resnet8 of width 8; {images['train']:,} clean training images with labels, {images['unlabeled']:,} "
        f"corrupted ones without; top-1 on {images['target_test']:,} corrupted test images (target) and on the "
        "same ones clean (source), in %, mean ± sample standard deviation over seeds. The last epoch's weights.",
        f"Trained on {machine['processor']}, {found['jobs']} at a time with {found['threads']} threads each.",
    ]
    if found["overrides"]:
        lines.append(f"Recipe settings overridden: {', '.join(found['overrides'])}.")
    for shift, corruptions in found["shifts"].items():
        here = [row for row in found["results"] if row["shift"] == shift]
        exits = range(len(here[0]["target"]))
        seeds = sorted({row["seed"] for row in here})
        lines += [
            "",
            f"## {shift}: {', '.join(map(_corruption, corruptions))} (seeds {', '.join(map(str, seeds))})",
            "",
            f"| | {' | '.join(f'target exit {k + 1}' for k in exits)} | target ensemble | source, last exit | s |",
            "|---|" + "---|" * (len(exits) + 3),
        ]
        for method, title in METHODS.items():
            rows = [row for row in here if row["method"] == method]
            columns: list[Callable[[dict[str, Any]], float]] = [
                *(lambda row, k=k: row["target"][k] for k in exits),
                lambda row: row["target_ensemble"],
                lambda row: row["source"][-1],
            ]
            cells = [_mean_and_spread([column(row) for row in rows]) for column in columns]
            seconds = statistics.mean(row["train_seconds"] for row in rows)
            lines.append(f"| {title} (`{method}`) | {' | '.join(cells)} | {seconds:.0f} |")
    teachers = [row["source"][-1] for row in found["results"] if row["method"] == "teacher"]
    lines += ["", f"The teachers before adaptation, on the source: {_mean_and_spread(teachers)} %.", ""]
    return "\n".join(lines)


def _corruption(part: Any) -> str:
    if isinstance(part, str):
        return part
    ((name, options),) = part.items()
    return f"{name} {' '.join(map(str, options.values()))}"


def _mean_and_spread(fractions: Sequence[float]) -> str:
    mean = f"{100 * statistics.mean(fractions):.2f}"
    return mean if len(fractions) < 2 else f"{mean} ± {100 * statistics.stdev(fractions):.2f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=_numbers, default=[0, 1, 2], help="seeds of the first shift, such as 0,1,2")
    parser.add_argument("--shifts", type=lambda text: text.split(","), default=list(SHIFTS), help=", ".join(SHIFTS))
    parser.add_argument("--further-seeds", type=int, default=1, help="number of seeds of the other shifts")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at the same time")
    parser.add_argument("--runs", type=Path, default=Path("runs/uda_kd"), help="folder of the runs")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override recipe settings")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "uda_kd.json")
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


if __name__ == "__main__":
    main()
