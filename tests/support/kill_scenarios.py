# ruff: noqa: RUF012
# The attributes of a scenario are replaced, never changed.
"""The commands that are killed at every call: the state before, what may be left, and what must hold afterwards."""

from __future__ import annotations

import csv
import json
from pathlib import Path

RECIPE = """
data: {name: digits, train_limit: 64, calibration_limit: 40, test_limit: 40}
model: {backbone: resnet8, options: {width: 4}}
distillation: {method: joint_ce}
optimization: {epochs: EPOCHS, batch_size: 32, lr: LR}
training: {precision: fp32, keep_every: 1}
"""


class Scenario:
    """A command and its folder. All methods run in forks of their own, in which nothing else happens.

    Attributes:
        command: its arguments; paths are relative to the folder.
        readers: commands that must answer, or say in one line how to go on, whatever was left.
    """

    command: list[str]
    readers: list[list[str]] = []

    def load(self) -> None:
        """Import what the commands need, before anything is forked."""
        import edgemate.cli.main
        import edgemate.training.trainer  # noqa: F401

    def patch(self) -> None:
        """Change what only a test changes, before the command runs."""
        from edgemate import timing

        timing.MAX_WARMUP_SECONDS = 0.02

    def prepare(self, folder: Path) -> None:
        """Make the state before the command."""

    def reference(self, folder: Path) -> None:
        """Look at the state after a command that was not killed."""
        if self.state(folder) != "new":
            raise AssertionError(self.state(folder))

    def state(self, folder: Path) -> str:
        """`old`, `new`, or another state that is allowed; AssertionError or an error of the library otherwise."""
        raise NotImplementedError

    def again(self, state: str) -> list[str]:
        """What is run next."""
        return self.command

    def check(self, folder: Path, whole: Path) -> None:
        """Compare the folder after that with the one of a command that was not killed."""
        self.reference(folder)


def write_recipe(path: Path, epochs: int = 2, lr: float = 0.1) -> None:
    path.write_text(RECIPE.replace("EPOCHS", str(epochs)).replace("LR", str(lr)), encoding="utf-8")


def train(recipe: Path, run: Path) -> None:
    import io

    from rich.console import Console

    from edgemate.config import load_recipe
    from edgemate.training import train as train_run

    train_run(load_recipe(recipe), run, console=Console(file=io.StringIO()))


def write_progress_at_every_step() -> None:
    """By the clock, as it is written otherwise, a slow training makes more calls than a fast one."""
    from edgemate.training import live

    live.FILE_SECONDS = 0.0


def same_training(found: Path, whole: Path) -> None:
    """The weights of every epoch, the logits, the figures and the history are equal, bit for bit."""
    import numpy as np

    from edgemate.runs import Run

    ours, theirs = Run.open(found), Run.open(whole)
    names = ["model.safetensors", *(str(path.relative_to(whole)) for path in theirs.kept_epochs().values())]
    for name in names:
        assert (found / name).read_bytes() == (whole / name).read_bytes(), name
    for split in ("calibration", "test"):
        for one, other in zip(ours.read_logits(split), theirs.read_logits(split), strict=True):  # type: ignore[arg-type]
            assert np.array_equal(one, other), split
    figures = [{**run.read_metrics(), "train_seconds": 0} for run in (ours, theirs)]
    assert figures[0] == figures[1]
    tables = [list(csv.DictReader(run.history_path.read_text().splitlines())) for run in (ours, theirs)]
    for rows in tables:
        for row in rows:
            del row["seconds"]
    assert tables[0] == tables[1]
    assert ours.environment_path.is_file()
    assert ours.speed_path.is_file()
    assert not ours.progress_path.is_file()


class Train(Scenario):
    """A new run."""

    command = ["train", "recipe.yaml", "--output", "run", "--quiet"]
    readers = [["inspect", "run", "--json"]]

    def patch(self) -> None:
        super().patch()
        write_progress_at_every_step()

    def prepare(self, folder: Path) -> None:
        write_recipe(folder / "recipe.yaml")

    def state(self, folder: Path) -> str:
        from edgemate.runs import Run
        from edgemate.runs.blank import is_blank

        if is_blank(folder / "run"):
            return "old"
        run = Run.open(folder / "run", finished=False)
        run.read_recipe()
        return "new" if run.finished else "begun"

    def again(self, state: str) -> list[str]:
        return [*self.command, "--resume"]

    def check(self, folder: Path, whole: Path) -> None:
        same_training(folder / "run", whole / "run")


class TrainForce(Train):
    """A run in place of another one, of another learning rate."""

    command = [*Train.command, "--force"]

    def prepare(self, folder: Path) -> None:
        write_recipe(folder / "other.yaml", epochs=1, lr=0.01)
        train(folder / "other.yaml", folder / "run")
        write_recipe(folder / "recipe.yaml")

    def state(self, folder: Path) -> str:
        from edgemate.runs import Run

        run = Run.open(folder / "run", finished=False)
        if run.read_recipe().optimization.lr == 0.01:
            assert run.finished
            run.read_logits("test")
            return "old"
        return "new" if run.finished else "begun"

    def again(self, state: str) -> list[str]:
        return self.command if state == "old" else [*Train.command, "--resume"]


class TrainExtended(Train):
    """A finished run that is resumed with an epoch more."""

    command = [*Train.command, "--resume"]

    def prepare(self, folder: Path) -> None:
        write_recipe(folder / "short.yaml", epochs=1)
        train(folder / "short.yaml", folder / "run")
        write_recipe(folder / "recipe.yaml")

    def state(self, folder: Path) -> str:
        from edgemate.runs import Run

        run = Run.open(folder / "run", finished=False)
        if run.finished:
            return "old" if run.read_recipe().optimization.epochs == 1 else "new"
        return "begun"

    def again(self, state: str) -> list[str]:
        return self.command


class CalibrateRun(Scenario):
    """Operating points of a run that has some."""

    command = ["calibrate", "run", "--max-accuracy-drop", "1.0"]
    readers = [["inspect", "run", "--json"]]

    def prepare(self, folder: Path) -> None:
        write_recipe(folder / "recipe.yaml", epochs=1)
        train(folder / "recipe.yaml", folder / "run")
        from edgemate import api

        api.calibrate(folder / "run")

    def state(self, folder: Path) -> str:
        names = [point["name"] for point in json.loads((folder / "run/policies.json").read_text())["points"]]
        return "new" if "drop" in names else "old"


class ProfileRun(CalibrateRun):
    """A profile in place of another one."""

    command = ["profile", "run", "--images", "8", "--repeats", "2", "--threads", "1", "--quiet"]

    def load(self) -> None:
        super().load()
        import edgemate.profiling.profiler
        import edgemate.report.profile_page
        import edgemate.report.writing  # noqa: F401

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        from edgemate import api

        self.patch()
        api.profile(folder / "run", images=9, repeats=3, threads=1)

    def state(self, folder: Path) -> str:
        from edgemate.runs import Run

        run = Run.open(folder / "run")  # which finishes what was decided
        json.loads(run.profile_path.read_text())
        files = (run.profile_path, run.tradeoff_csv_path, *run.report_paths)
        # A copy of a file of before has its time.
        template = folder.parent / "template"
        times = [(path, template / path.relative_to(folder)) for path in files]
        old = {path.name: path.stat().st_mtime_ns == before.stat().st_mtime_ns for path, before in times}
        assert len(set(old.values())) == 1, old
        return "old" if old["profile.json"] else "new"


class Export(Scenario):
    """A new bundle."""

    command = ["export", "run", "--output", "bundle", "--quiet"]
    readers = [
        ["inspect", "bundle", "--json"],
        ["classify", "bundle", "image.png", "--policy", "full", "--threads", "1"],
    ]

    def load(self) -> None:
        super().load()
        import onnxruntime  # noqa: F401

        import edgemate.exporting.targets.onnx  # noqa: F401

    def prepare(self, folder: Path) -> None:
        from PIL import Image

        write_recipe(folder / "recipe.yaml", epochs=1)
        train(folder / "recipe.yaml", folder / "run")
        Image.new("L", (8, 8), 99).save(folder / "image.png")

    def state(self, folder: Path) -> str:
        if not (folder / "bundle").exists():
            return "old"
        from edgemate.bundle import Bundle

        return "new" if "prefixes" in Bundle.open(folder / "bundle").manifest.graphs else "old"

    def again(self, state: str) -> list[str]:
        return self.command if state == "old" else [*self.command, "--force"]


class ExportForce(Export):
    """A bundle in place of another one, which has segments only."""

    command = [*Export.command, "--force"]

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        from edgemate import api

        api.export(folder / "run", folder / "bundle", layouts=["segments"])

    def state(self, folder: Path) -> str:
        assert (folder / "bundle").exists()
        return super().state(folder)

    def again(self, state: str) -> list[str]:
        return self.command


class _SmallBundle(Scenario):
    def load(self) -> None:
        import onnxruntime  # noqa: F401

        import edgemate.api.inspecting
        import edgemate.cli.escaping_console
        import edgemate.cli.figures
        import edgemate.cli.main
        import edgemate.config
        import edgemate.runs
        import edgemate.runtime.classifier  # noqa: F401

    def prepare(self, folder: Path) -> None:
        from bundles import write_small_bundle
        from PIL import Image

        write_small_bundle(folder / "bundle")
        Image.new("RGB", (8, 8), (9, 99, 199)).save(folder / "image.png")


class Calibrate(_SmallBundle):
    """Operating points of a bundle."""

    command = ["calibrate", "bundle", "--max-accuracy-drop", "1.0"]
    readers = [
        ["inspect", "bundle", "--json"],
        ["classify", "bundle", "image.png", "--policy", "fast", "--threads", "1"],
    ]

    def load(self) -> None:
        super().load()
        import edgemate.api.calibrating
        import edgemate.api.classifying
        import edgemate.runtime.backends.onnxruntime  # noqa: F401

    def state(self, folder: Path) -> str:
        from edgemate.bundle import Bundle
        from edgemate.calibration import read_operating_points

        return "new" if "drop" in read_operating_points(Bundle.open(folder / "bundle")).names() else "old"


class BenchDevice(_SmallBundle):
    """A latency table in place of another one, and a report."""

    command = [
        *("bench", "bundle", "--device", "here", "--repeats", "3", "--warmup", "0"),
        *("--threads", "1", "--output", "report.json", "--quiet"),
    ]
    readers = [["inspect", "bundle", "--json"], ["classify", "bundle", "image.png", "--deadline-ms", "50"]]

    def load(self) -> None:
        super().load()
        import edgemate.api.benching
        import edgemate.api.classifying
        import edgemate.runtime.backends.onnxruntime  # noqa: F401

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        from edgemate import api

        self.patch()
        api.bench(folder / "bundle", repeats=2, warmup=0, threads=1, device="here")
        (folder / "report.json").write_text('{"old": true}')

    def state(self, folder: Path) -> str:
        from edgemate.bundle import Bundle
        from edgemate.latency_tables import read_latency_table

        json.loads((folder / "report.json").read_text())
        return {2: "old", 3: "new"}[read_latency_table(Bundle.open(folder / "bundle"), "here").repeats]

    def check(self, folder: Path, whole: Path) -> None:
        super().check(folder, whole)
        assert "exits" in json.loads((folder / "report.json").read_text())


class ProfileBundle(_SmallBundle):
    """A profile of a bundle, in a new folder."""

    command = ["profile", "bundle", "--repeats", "2", "--threads", "1", "--output", "out", "--quiet"]
    readers = [["inspect", "bundle", "--json"]]

    def load(self) -> None:
        super().load()
        import edgemate.profiling.bundle_profiler
        import edgemate.report.profile_page
        import edgemate.report.writing  # noqa: F401

    def state(self, folder: Path) -> str:
        from edgemate.file_group import finish_groups

        finish_groups(folder / "out")
        names = {path.name for path in (folder / "out").glob("[!.]*")}
        if not names:
            return "old"
        assert {"profile.json", "tradeoff.csv", "report.html", "curves.csv", "curves.json", "curves.png"} <= names
        return "new"


class Build(_SmallBundle):
    """Engines of a fake TensorRT, in place of others that were built for another batch."""

    command = ["build", "bundle", "--batch", "1:2:4", "--quiet"]
    readers = [["inspect", "bundle", "--json"]]

    def patch(self) -> None:
        super().patch()
        from fake_tensorrt import opened
        from golden_backend import GoldenBackend

        from edgemate.registry import BACKENDS
        from edgemate.runtime.backends.tensorrt import compat

        trt = opened("10.3.0")
        trt.module.information = json.dumps({"Layers": []})  # type: ignore[attr-defined]
        compat.load_tensorrt = lambda flavour=None: trt  # type: ignore[assignment]
        BACKENDS.get = lambda name: GoldenBackend  # type: ignore[method-assign]

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        import os

        from edgemate import api

        os.chdir(folder)
        os.environ["XDG_CACHE_HOME"] = str(folder.parent / "cache")
        self.patch()
        api.build("bundle", batch="1:1:2")

    def state(self, folder: Path) -> str:
        from fake_tensorrt import opened

        from edgemate.bundle import Bundle
        from edgemate.runtime.backends.tensorrt.loading import find_engines

        engines = find_engines(Bundle.open(folder / "bundle"), opened("10.3.0"), "segments")
        batches = {json.dumps(engine.metadata.options["batch"]) for engine in engines}
        assert len(batches) == 1, batches
        return "new" if "4" in batches.pop() else "old"


class Images(Scenario):
    """Images of a dataset."""

    command = ["images", "recipe.yaml", "--count", "4", "--output", "images", "--quiet"]

    def prepare(self, folder: Path) -> None:
        write_recipe(folder / "recipe.yaml")

    def state(self, folder: Path) -> str:
        from PIL import Image

        from edgemate.file_group import finish_groups

        finish_groups(folder / "images")
        found = list((folder / "images").glob("[!.]*"))
        for path in found:
            Image.open(path).load()
        return {0: "old", 4: "new"}[len(found)]

    def again(self, state: str) -> list[str]:
        return self.command if state == "old" else [*self.command, "--force"]


class Compare(Scenario):
    """Two methods and one seed; the trainings run in the same process."""

    command = [
        "compare",
        "recipe.yaml",
        "--methods",
        "joint_ce,mate",
        "--seeds",
        "0",
        "--output",
        "compared",
        "--quiet",
    ]
    readers = [["inspect", "compared/joint_ce-seed0", "--json"]]

    def load(self) -> None:
        super().load()
        import edgemate.comparison.comparing
        import edgemate.report.comparison_page  # noqa: F401

    def patch(self) -> None:
        super().patch()
        write_progress_at_every_step()
        from in_process import InProcess

        from edgemate.comparison import comparing
        from edgemate.comparison.engines import making

        def make(name: str, jobs: int | None, recipe: object, options: object) -> InProcess:
            return InProcess(jobs, False)

        making.make_engine = comparing.make_engine = make  # type: ignore[assignment]

    def prepare(self, folder: Path) -> None:
        write_recipe(folder / "recipe.yaml", epochs=1)
        text = (folder / "recipe.yaml").read_text().replace(", keep_every: 1", "")
        (folder / "recipe.yaml").write_text(text)

    def state(self, folder: Path) -> str:
        from edgemate.file_group import finish_groups

        output = folder / "compared"
        if output.is_dir():
            finish_groups(output)
        found = {path.suffix for path in output.glob("comparison.*")}
        if not found:
            return "old"
        assert found == {".json", ".md", ".png", ".html"}, found
        return "new"

    def check(self, folder: Path, whole: Path) -> None:
        super().check(folder, whole)
        for name in ("joint_ce-seed0", "mate-seed0"):
            model = f"compared/{name}/model.safetensors"
            assert (folder / model).read_bytes() == (whole / model).read_bytes(), name


SCENARIOS: dict[str, Scenario] = {
    "train": Train(),
    "train-force": TrainForce(),
    "train-extended": TrainExtended(),
    "calibrate-run": CalibrateRun(),
    "profile-run": ProfileRun(),
    "export": Export(),
    "export-force": ExportForce(),
    "calibrate": Calibrate(),
    "bench": BenchDevice(),
    "profile-bundle": ProfileBundle(),
    "build": Build(),
    "images": Images(),
    "compare": Compare(),
}
