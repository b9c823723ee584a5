"""What needs no torch to be known is said before torch, or anything else that takes seconds to import, is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from edgemate.bundle import Bundle
from edgemate.runs import Run, RunMetadata
from recipes import SMALL, small_recipe

HEAVY = (
    "fvcore",
    "lightning",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "optuna",
    "ray",
    "sklearn",
    "tensorrt",
    "torch",
    "torchvision",
)

# Every command in one process: importing only what is light takes a while too.
PROGRAM = """
import contextlib, io, json, sys
from edgemate.cli.main import app
heavy, commands = json.loads(sys.argv[1]), json.loads(sys.argv[2])
for command in commands:
    said, before = None, set(sys.modules)
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            app(command, standalone_mode=False)
        except (Exception, SystemExit) as error:
            said = [type(error).__name__, str(error)]
    print(json.dumps([said, [name for name in heavy if name in sys.modules and name not in before]]))
"""

OFFICIAL = ("cub200", "fgvc_aircraft", "imagenet", "imagenette", "stanford_dogs", "tiny_imagenet", "trashnet")
RECIPES = {
    "good": {},
    "unknown_key": {"optimization": {"epochs": 1, "lrr": 1}},
    "wrong_option": {"model": {"backbone": "resnet8", "options": {"width": -1}}},
    "no_dataset": {"data": {"name": "digist"}},
    "no_backbone": {"model": {"backbone": "resnet7"}},
    "no_head": {"exits": {"head": "convv"}},
    "no_method": {"distillation": {"method": "mat"}},
    "no_plug_in": {"distillation": {"method": "my_methods.own:Mine"}},
    "no_file": {"data": {"name": "arrays", "options": {"path": "nowhere.npz"}}},
    "no_key": {"data": {"name": "arrays", "options": {"path": "half.npz"}}},
    "no_folder": {"data": {"name": "image_folder", "image_size": 32, "options": {"path": "nowhere"}}},
    "no_classes": {"data": {"name": "image_folder", "image_size": 32, "options": {"path": "flat"}}},
    "no_images": {"data": {"name": "image_folder", "image_size": 32, "options": {"path": "hollow"}}},
    "no_train": {"data": {"name": "image_folder", "image_size": 32, "options": {"path": "halved"}}},
    "one_class": {"data": {"name": "image_folder", "image_size": 32, "options": {"path": "single"}}},
    "no_table_file": {"data": {"name": "image_table", "image_size": 32, "options": {"path": "table.csv"}}},
    "no_column": {
        "data": {"name": "image_table", "image_size": 32, "options": {"path": "table.csv", "path_column": "file"}}
    },
    "no_cifar": {"data": {"name": "cifar100", "options": {"root": "nowhere", "download": False}}},
    "no_fashion": {"data": {"name": "fashion_mnist", "options": {"root": "nowhere", "download": False}}},
    **{f"no_{name}": {"data": {"name": name, "image_size": 32, "options": {"root": "nowhere"}}} for name in OFFICIAL},
    "no_second": {"data": {"name": "digits", "unlabeled": {"name": "arrays", "options": {"path": "nowhere.npz"}}}},
    "no_teacher": {"distillation": {"method": "kd"}},
    "no_teachers_run": {"distillation": {"method": "kd", "teacher": "runs/nowhere"}},
    "no_weights": {"distillation": {"method": "kd", "teacher": "torchvision:resnet18@nowhere.pth"}},
    "late_milestone": {
        "optimization": {"epochs": 1, "schedule": "multi_step", "schedule_options": {"milestones": [9]}}
    },
}

COMPARE = "compare good.yaml --methods"
# What is typed, and what must be in the error; {bundle} is a bundle, runs/done a finished run.
CASES = [
    ("train nowhere.yaml", "UsageError: nowhere.yaml: no such file"),
    ("train no_yaml.yaml", "RecipeError: no_yaml.yaml: is not valid YAML"),
    ("train unknown_key.yaml", "optimization.lrr: unknown key; did you mean 'lr'?"),
    ("train wrong_option.yaml", "model.options.width: should be greater than"),
    ("train no_dataset.yaml", "unknown dataset 'digist'; did you mean 'digits'?"),
    ("train no_backbone.yaml", "unknown backbone 'resnet7'"),
    ("train no_head.yaml", "unknown head 'convv'; did you mean 'conv'?"),
    ("train no_method.yaml", "unknown distillation method 'mat'; did you mean 'mate'?"),
    ("train no_plug_in.yaml", "'my_methods.own:Mine' cannot be imported: No module named 'my_methods'"),
    ("train no_file.yaml", "DataError: no such file or folder: nowhere.npz"),
    ("train no_key.yaml", "half.npz: y_train is missing"),
    ("train no_folder.yaml", "DataError: no such file or folder: nowhere"),
    ("train no_classes.yaml", "DataError: flat has images but no folders; one per class is required"),
    ("train no_images.yaml", "has no images"),
    ("train no_train.yaml", "halved has val/ but no train/"),
    ("train one_class.yaml", "single has one class only (cat); a classifier needs two or more"),
    ("train no_table_file.yaml", "1 of 2 files missing, the first one flat/b.png (line 3)"),
    ("train no_column.yaml", "table.csv has no column 'file', only 'path', 'label'"),
    ("train no_cifar.yaml", "dataset cifar100 cannot be loaded from nowhere"),
    ("train no_fashion.yaml", "dataset fashion_mnist cannot be loaded from nowhere"),
    *((f"train no_{name}.yaml", f"dataset {name} cannot be loaded (there is no folder") for name in OFFICIAL),
    ("train no_second.yaml", "DataError: no such file or folder: nowhere.npz"),
    ("train no_teacher.yaml", "distillation.teacher: kd needs a teacher and there is none"),
    ("train no_teachers_run.yaml", "distillation.teacher: runs/nowhere: there is no such run folder"),
    ("train no_weights.yaml", "there is no file nowhere.pth"),
    ("train late_milestone.yaml", "milestones: 9 is never reached in 1 epoch"),
    ("train good.yaml --output runs/done", "RunError: runs/done: already exists; `resume` continues it"),
    ("train good.yaml --output flat --force", "RunError: flat: not a run"),
    ("train good.yaml --output flat/a.png/deep", "NotADirectoryError"),
    ("train good.yaml --output runs/done --resume --set training.seed=7", "was begun with another recipe"),
    ("train good.yaml --resume --force", "`resume` and `overwrite` exclude each other"),
    ("train good.yaml --set epochs", "override 'epochs': write section.key=value"),
    ("train good.yaml --set optimization.epochs=0", "optimization.epochs: should be greater than 0"),
    ("recipes validate unknown_key.yaml", "optimization.lrr: unknown key"),
    ("recipes validate no_plug_in.yaml", "No module named 'my_methods'"),
    ("recipes validate no_teachers_run.yaml", "there is no such run folder"),
    ("images nowhere.yaml", "no such file"),
    ("images no_folder.yaml", "no such file or folder: nowhere"),
    ("images no_images.yaml", "has no images"),
    ("images good.yaml --output flat", "flat is not empty"),
    ("images good.yaml --output flat/a.png/deep", "NotADirectoryError"),
    ("plan nowhere.yaml", "nowhere.yaml: no such file"),
    ("plan resnet7", "resnet7: no such backbone, recipe or file; did you mean 'resnet"),
    ("plan my_nets.own:Mine", "backbone 'my_nets.own:Mine' cannot be imported: No module named 'my_nets'"),
    ("plan resnet8 --head convv", "unknown head 'convv'; did you mean 'conv'?"),
    ("plan resnet8 --set exits.count=2", "`overrides` are for recipes, and resnet8 is a network"),
    ("plan good.yaml --head conv --set exits.options.dropout=0", "the override exits.options exclude each other"),
    ("plan good.yaml --exits 2 --set exits.count=3", "the override exits.count exclude each other"),
    ("plan good.yaml --image-size 9 --set data.image_size=8", "the override data.image_size exclude each other"),
    ("plan no_head.yaml", "unknown head 'convv'; did you mean 'conv'?"),
    ("plan no_folder.yaml", "no such file or folder: nowhere"),
    (f"{COMPARE} mat", "unknown distillation method 'mat'"),
    (f"{COMPARE} mate:alpa=1", "distillation.options.alpa: unknown key; did you mean 'alpha'?"),
    (f"{COMPARE} mate,,kd", "methods '': write NAME"),
    (f"{COMPARE} kd", "kd needs a teacher and there is none"),
    (f"{COMPARE} mate --seeds a", "seeds 'a': should be comma-separated integers"),
    (f"{COMPARE} mate --set training.seed=7", "override training.seed: every run has one of `seeds`"),
    (f"{COMPARE} mate,joint_ce --set distillation.teacher=runs/done", "none of the methods learns from a teacher"),
    (f"{COMPARE} mate --set distillation.methods=[mate]", "override distillation.methods: every run has one of"),
    (f"{COMPARE} mate --seeds 1,1", "seeds '1,1': must be different"),
    (f"{COMPARE} mate --output flat/a.png/deep", "NotADirectoryError"),
    (f"{COMPARE} mate --set training.weights=best", "training.weights: must be last in a comparison"),
    ("compare no_images.yaml --methods mate", "has no images"),
    (f"{COMPARE} mate --engine rey", "unknown engine 'rey'; did you mean 'ray'?"),
    (f"{COMPARE} mate --address there:1", "address: engine local has no such option; it has no options"),
    (f"{COMPARE} mate --engine ray --address 127.0.0.1:1", "address '127.0.0.1:1': no Ray cluster answers there"),
    (f"{COMPARE} mate --engine ray --address 127.0.0.1", "should be HOST:PORT"),
    ("profile nowhere", "UsageError: nowhere: is neither a bundle"),
    ("profile flat", "UsageError: flat: is neither a bundle"),
    ("profile runs/begun", "training has not finished"),
    ("profile runs/moved", "DataError: no such file or folder: nowhere.npz"),
    ("profile runs/done --batch 1,x", "batch '1,x': must be numbers of 1 or more"),
    ("profile runs/done --compare base.json --tolerance five", "tolerance 'five': must be a percentage or a fraction"),
    ("profile runs/done --compare nowhere.json", "nowhere.json: cannot be read"),
    ("profile runs/done {bundle} --compare flat/a.png", "takes one path at a time"),
    ("profile {bundle} --compare flat/a.png", "flat/a.png: not valid JSON"),
    ("profile {bundle} {bundle}", "would both go to"),
    ("profile {bundle} --output {bundle}/profile", "is inside the bundle"),
    ("profile {bundle} --data nowhere", "nowhere: is neither a folder of images nor an .npz file"),
    (
        "profile runs/done --device-spec orin",
        "device spec 'orin': neither one of agx-orin, orin-nano,",
    ),
    ("profile runs/done --device-spec no_yaml.yaml", "device spec no_yaml.yaml: not valid YAML or JSON"),
    ("profile runs/done --device-spec good.yaml", "device spec good.yaml: name: missing"),
    ("profile {bundle} --images 9", "`images`: without `data` no image of a bundle is classified"),
    ("profile {bundle} --layers", "`layers`: a bundle has no network to count"),
    ("profile runs/done --data flat", "a run is scored on its own test split"),
    ("export nowhere", "RunError: nowhere: there is no such run folder"),
    ("export runs/begun", "training has not finished"),
    ("export runs/done --target onx", "unknown export target 'onx'; did you mean 'onnx'?"),
    ("export runs/done --input uint8 --frame 0x0", "frame 0x0: give width and height, such as 1920x1080"),
    ("export runs/done --input uint8 --frame 99999x99999", "each from 1 to 16,384 pixels"),
    ("export runs/done --input uint8 --frame 30x20 --output new", "UsageError: frame: 20 × 30 is neither resized nor"),
    ("export runs/done --target triton --platform tensorrt --output new", "; platform onnxruntime needs none"),
    (
        "export runs/done --target triton --platform tensorrt --batch 8 --output new",
        "batch 8:8:8: a model repository needs engines that take a single image; give 1:8:8",
    ),
    (
        "export runs/done --target triton --layouts prefixes --output new",
        "layouts 'prefixes': target triton runs segments; name segments, alone or with prefixes, conditional",
    ),
    ("export runs/done --target triton --platform ort --output new", "platform 'ort': must be onnxruntime or tensorrt"),
    ("export runs/done --platform onnxruntime --output new", "platform: is for target triton, not onnx"),
    ("export runs/done --target trt --platform onnxruntime --output new", "platform: is for target triton, not trt"),
    ("export runs/done --precision fp8", "precision 'fp8': must be one of"),
    ("export runs/done --layouts whole", "layouts 'whole': name some of"),
    ("export runs/done --output flat", "flat: exists and is not a bundle"),
    ("export runs/done --output {bundle}", "already holds a bundle; `overwrite` replaces it"),
    ("export runs/done --output flat/a.png/deep", "NotADirectoryError"),
    ("export runs/moved --precision int8", "no such file or folder: nowhere.npz"),
    ("inspect nowhere", "nowhere: is neither a bundle"),
    ("inspect flat", "flat: is neither a bundle"),
    ("calibrate nowhere", "nowhere: is neither a bundle"),
    ("calibrate runs/begun", "training has not finished"),
    ("calibrate runs/done --solver dirct", "unknown solver 'dirct'; did you mean 'direct'?"),
    ("calibrate runs/done --mean-latency-ms 3", "a mean latency needs a bundle"),
    ("evaluate nowhere", "BundleError: nowhere: no such bundle folder"),
    ("evaluate runs/done", "logits/test.npz: cannot be read as arrays"),
    ("evaluate runs/begun", "training has not finished"),
    ("evaluate runs/done --policy quick", "a run is evaluated by its stored logits"),
    ("evaluate {bundle} --split test", "for runs only"),
    ("evaluate {bundle} --policy quick", "unknown operating point 'quick'"),
    ("evaluate {bundle} --data nowhere", "nowhere: is neither a folder of images"),
    ("evaluate {bundle} --output flat/a.png/deep", "NotADirectoryError"),
    ("classify nowhere flat", "BundleError: nowhere: no such bundle folder"),
    ("classify {bundle} nowhere.png", "DataError: nowhere.png: no such file"),
    ("classify {bundle} hollow", "hollow: has no images"),
    ("classify {bundle} flat --threshold 90", "threshold must be from 0 to 1, not 90"),
    ("classify {bundle} flat --exit 9", "exit: 9 asked for; this network has exits 1 to 3"),
    ("classify {bundle} flat --policy quick", "unknown operating point 'quick'"),
    ("classify {bundle} flat --deadline-ms 0", "deadline: must be above 0 ms"),
    ("run nowhere --source flat", "BundleError: nowhere: no such bundle folder"),
    ("run {bundle} --source nowhere.mp4", "UsageError: source nowhere.mp4: no such file or folder"),
    ("run {bundle} --source hollow", "hollow: has no images"),
    ("run {bundle} --source flat --policy quick", "unknown operating point 'quick'"),
    ("run {bundle} --source flat --pace quick", "pace: must be 'real' or 'fastest'"),
    ("bench nowhere", "BundleError: nowhere: no such bundle folder"),
    ("bench {bundle} --device a --batch 2", "a latency table is of one image at a time"),
    ("bench {bundle} --output flat", "is a folder; name a file"),
    ("build nowhere", "BundleError: nowhere: no such bundle folder"),
    ("build {bundle} --tolerance 0", "tolerance 0: must be above 0"),
    ("build {bundle} --layouts whole", "layouts 'whole': name some of"),
    ("build {bundle} --layouts conditional --batch 4", "batch 4:4:4: the conditional graph takes one image at a time"),
]
GOOD = [
    "models vgg*",
    "recipes list",
    "recipes schema",
    "recipes show good.yaml --resolved",
    "inspect runs/done",
    "inspect {bundle}",
]


@dataclass(frozen=True)
class Answer:
    """What came of a command."""

    error: str | None
    imported: list[str]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory, small_bundle: Bundle) -> dict[str, Answer]:
    folder = tmp_path_factory.mktemp("early")
    furnish(folder)
    typed = [*GOOD, *(command for command, _ in CASES)]
    commands = [[part.format(bundle=small_bundle.path) for part in command.split()] for command in typed]
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(HEAVY), json.dumps(commands)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        cwd=folder,
    ).stdout
    found = {}
    for command, line in zip(typed, told.splitlines(), strict=True):
        error, imported = json.loads(line)
        found[command] = Answer(": ".join(error) if error else None, imported)
    assert not (folder / "comparisons").exists()
    assert sorted(path.name for path in (folder / "runs").iterdir()) == ["begun", "done", "moved"]
    return found


def furnish(folder: Path) -> None:
    """Recipes, runs and data with one thing wrong each."""
    for name, sections in RECIPES.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(SMALL | sections))
    (folder / "no_yaml.yaml").write_text("data: [")
    np.savez(folder / "half.npz", x_train=np.zeros((1, 8, 8), np.uint8))
    for empty in ("hollow/cat", "halved/val/cat", "single/cat"):
        (folder / empty).mkdir(parents=True)
    (folder / "flat").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "flat" / "a.png")
    Image.new("RGB", (8, 8)).save(folder / "single" / "cat" / "a.png")
    (folder / "table.csv").write_text("path,label\nflat/a.png,cat\nflat/b.png,dog\n")
    pixels = {"channels": 1, "height": 8, "width": 8, "resize": None, "center_crop": None}
    moved = ("data.name=arrays", "data.options.path=nowhere.npz")
    for name, overrides in (("done", ()), ("begun", ()), ("moved", moved)):
        run = Run.create(folder / "runs" / name)
        run.write_recipe(small_recipe(*overrides))
        if name == "begun":
            continue
        run.write_metadata(RunMetadata("digits", pixels | {"mean": [0.0], "std": [1.0]}, ("a", "b"), ("stage1",), {}))
        run.write_metrics({})
        for file in (run.model_path, run.golden_path, run.logits_path("calibration"), run.logits_path("test")):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()


@pytest.mark.parametrize(("command", "said"), CASES, ids=[command for command, _ in CASES])
def test_an_error_comes_before_anything_heavy_is_imported(answers: dict[str, Answer], command: str, said: str) -> None:
    answer = answers[command]
    assert answer.error is not None
    assert said in answer.error
    assert answer.imported == []


@pytest.mark.parametrize("command", GOOD)
def test_what_only_looks_imports_nothing_heavy(answers: dict[str, Answer], command: str) -> None:
    assert answers[command] == Answer(None, [])


def test_a_good_recipe_is_checked_with_torch_alone(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(yaml.safe_dump(SMALL))
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            PROGRAM,
            json.dumps([*HEAVY, "torch._dynamo"]),
            '[["recipes", "validate", "good.yaml"]]',
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd=tmp_path,
    ).stdout
    assert json.loads(told) == [None, ["torch"]]
