"""Distill a ResNet-20 into the exits of a ResNet-8: each method against joint cross-entropy without a teacher.

    python benchmarks/teacher_student.py --jobs 2

Teacher and students use the small CIFAR-100 recipe with its 10,000 training images. The teacher is trained once, with
checkpoints along the way (its route), and shared by all students, which are trained like `edgemate compare`. After an
interruption, the same command resumes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml
from run_trainings import run_trainings

from edgemate import files
from edgemate.comparison import compare, parse_variants
from edgemate.comparison.running import Training
from edgemate.comparison.table import comparison_markdown
from edgemate.config import Recipe, load_recipe
from edgemate.runs import Run

RECIPES = Path(__file__).parents[1] / "recipes" / "small"
METHODS = "joint_ce,kd,prokt,rco,wsl,dfa"


def main() -> None:
    options = _options()
    limit = [] if options.images is None else [f"data.train_limit={options.images}"]
    teacher = _teacher(options, limit)
    found = compare(
        RECIPES / "cifar100_resnet8_joint_ce.yaml",
        parse_variants(options.methods),
        options.seeds,
        options.runs,
        overrides=[*limit, f"optimization.epochs={options.epochs}", f"distillation.teacher={teacher.path}"],
        jobs=options.jobs,
        report=lambda line: print(line, flush=True),
    )
    metadata = _metadata(teacher)
    text = _markdown(comparison_markdown(found), metadata)
    print(text)
    rows = found.to_json()
    for method in rows["methods"]:
        if method["distillation"]["teacher"] is not None:
            method["distillation"]["teacher"] = teacher.name
    files.write_text(options.output.with_suffix(".md"), text)
    files.write_json(options.output.with_suffix(".json"), {"benchmark": "teacher_student", "teacher": metadata, **rows})


def _teacher(options: argparse.Namespace, limit: list[str]) -> Run:
    """The finished teacher, trained or resumed if necessary."""
    overrides = [*limit]
    if options.teacher_epochs is not None:
        keep = max(1, options.teacher_epochs // 4)
        overrides += [f"optimization.epochs={options.teacher_epochs}", f"training.keep_every={keep}"]
    recipe = load_recipe(RECIPES / "cifar100_resnet20_teacher.yaml", overrides)
    run = Run(options.runs / "teacher")
    if not (run.finished and run.read_recipe() == recipe):
        run_trainings([_training(run, recipe, options.runs)], jobs=1, finished=_report)
    return run


def _training(run: Run, recipe: Recipe, runs: Path) -> Training:
    resolved = runs / "recipes" / f"{run.name}.yaml"
    files.write_text(resolved, yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
    return Training(run.name, resolved, run.path, runs / "logs" / f"{run.name}.log")


def _metadata(teacher: Run) -> dict[str, Any]:
    recipe, metrics = teacher.read_recipe(), teacher.read_metrics()
    return {
        "run": teacher.name,
        "backbone": recipe.model.backbone,
        "epochs": recipe.optimization.epochs,
        "route": list(teacher.kept_epochs()),
        "test": metrics["accuracy"]["test"]["exits"][-1],
        "train_seconds": metrics["train_seconds"],
    }


def _markdown(table: str, teacher: dict[str, Any]) -> str:
    route = ", ".join(map(str, teacher["route"]))
    return (
        f"{table}\nThe teacher, {teacher['backbone']} after {teacher['epochs']} epochs on the same images: "
        f"{100 * teacher['test']:.2f} %, {teacher['train_seconds']:.0f} s. `rco` follows its epochs {route}. "
        "`joint_ce` has no teacher.\n"
    )


def _report(training: Training, seconds: float) -> None:
    accuracy = Run(training.folder).read_metrics()["accuracy"]["test"]["exits"][-1]
    print(f"{training.name}: {100 * accuracy:.2f} %  {seconds:.0f} s", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default=METHODS, help="as for `edgemate compare`")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the students")
    parser.add_argument("--epochs", type=int, default=6, help="of the students")
    parser.add_argument("--teacher-epochs", type=int, help="default: the recipe's; a checkpoint is kept every quarter")
    parser.add_argument("--images", type=int, help="training images, as data.train_limit")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at the same time")
    parser.add_argument("--runs", type=Path, default=Path("comparisons") / "teacher_student")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "teacher_student")
    return parser.parse_args()


if __name__ == "__main__":
    main()
