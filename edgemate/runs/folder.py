"""`Run`: the folder that training writes, and that profiling and export read."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import yaml

from edgemate import files
from edgemate.config import Recipe, load_recipe
from edgemate.errors import RunError

Split = Literal["calibration", "test", "target_test"]
"""`target_test` is there in runs with a second domain only: that domain's test split."""

Float = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RunMetadata:
    """What must be known of a run's data to use its network.

    Attributes:
        dataset: name of the dataset.
        input: channels, height, width and preprocessing, as `edgemate.data.InputSpec` writes itself.
        classes: names, in the order of the logits.
        cuts: names of the cut points, one per exit.
        images: split → number of images.
    """

    dataset: str
    input: dict[str, Any]
    classes: tuple[str, ...]
    cuts: tuple[str, ...]
    images: dict[str, int]


class SplitLogits(NamedTuple):
    """What every exit said of a split, in the order of its loader: logits (N, K, C) and labels (N,)."""

    logits: Float
    labels: Labels


class Golden(NamedTuple):
    """Some real test images, ready for the network: images (n, C, H, W) and labels (n,)."""

    images: Float
    labels: Labels


@dataclass(frozen=True)
class TrainingProgress:
    """How far a training is that goes on at this moment.

    Attributes:
        epoch: counted from 1.
        epochs: in all.
        step: of this epoch, steps done.
        steps: of an epoch.
        seconds_left: in the whole training; None before that can be said.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    seconds_left: float | None


@dataclass(frozen=True)
class Run:
    """A run folder. `Run.create` starts one, `Run.open` reads one.

    Attributes:
        path: the folder; its name is the run's name.
    """

    path: Path

    @classmethod
    def create(cls, path: str | Path) -> Run:
        """An empty run folder. Raises RunError where something is there already."""
        run = cls(Path(path))
        if run.path.exists() and (not run.path.is_dir() or any(run.path.iterdir())):
            raise RunError(f"{path}: is not empty; continue the run there with `resume`, or choose another folder")
        run.path.mkdir(parents=True, exist_ok=True)
        return run

    @classmethod
    def open(cls, path: str | Path, *, finished: bool = True) -> Run:
        """The run in a folder.

        Args:
            path: the folder.
            finished: training must have ended; `resume` opens runs that have not.

        Raises:
            RunError: there is no such folder, it is no run, or training has not finished.
        """
        run = cls(Path(path))
        if not run.path.is_dir():
            raise RunError(f"{path}: there is no such run folder; `edgemate train RECIPE` makes one")
        if not run.recipe_path.is_file():
            raise RunError(f"{path}: is no run, for it has no {run.recipe_path.name}")
        if finished and not run.finished:
            raise RunError(
                f"{path}: training has not finished ({run._missing()[0]} is missing); "
                f"continue with `edgemate train RECIPE --resume`"
            )
        return run

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name

    @property
    def recipe_path(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def metadata_path(self) -> Path:
        """`RunMetadata`."""
        return self.path / "metadata.json"

    @property
    def environment_path(self) -> Path:
        """`environment_metadata()` of the training."""
        return self.path / "environment.json"

    @property
    def numerics_path(self) -> Path:
        """Precision and memory format that the training chose, and why."""
        return self.path / "numerics.json"

    @property
    def history_path(self) -> Path:
        """Every epoch's metrics."""
        return self.path / "history.csv"

    @property
    def speed_path(self) -> Path:
        """Every epoch's images per second, wait for data and peak memory."""
        return self.path / "speed.csv"

    @property
    def progress_path(self) -> Path:
        """`TrainingProgress`; there only while the training goes on, or after it was cut off."""
        return self.path / "progress.json"

    @property
    def metrics_path(self) -> Path:
        """Final figures."""
        return self.path / "metrics.json"

    @property
    def checkpoints_path(self) -> Path:
        """Folder of resumable checkpoints."""
        return self.path / "checkpoints"

    def epoch_path(self, epoch: int) -> Path:
        """The model's weights after an epoch, counted from 1, if `training.keep_every` keeps that one."""
        return self.checkpoints_path / f"epoch_{epoch}.safetensors"

    def kept_epochs(self) -> dict[int, Path]:
        """Epoch → the model's weights after it, of all that were kept, in order."""
        found = {}
        for path in self.checkpoints_path.glob("epoch_*.safetensors"):
            number = path.stem.removeprefix("epoch_")
            if number.isdecimal():
                found[int(number)] = path
        return dict(sorted(found.items()))

    @property
    def model_path(self) -> Path:
        """Weights of the multi-exit model."""
        return self.path / "model.safetensors"

    @property
    def method_path(self) -> Path:
        """The distillation method's own parameters; absent where it has none."""
        return self.path / "method.safetensors"

    @property
    def golden_path(self) -> Path:
        """`Golden`."""
        return self.path / "golden.npz"

    @property
    def policies_path(self) -> Path:
        """Operating points that `edgemate calibrate` chose; absent where it has not."""
        return self.path / "policies.json"

    @property
    def profile_path(self) -> Path:
        """What `edgemate profile` found."""
        return self.path / "profile.json"

    @property
    def tradeoff_csv_path(self) -> Path:
        """The points of the trade-off curves."""
        return self.path / "tradeoff.csv"

    @property
    def tradeoff_png_path(self) -> Path:
        """The trade-off curves, drawn."""
        return self.path / "tradeoff.png"

    def logits_path(self, split: Split) -> Path:
        """`SplitLogits` of one split."""
        return self.path / "logits" / f"{split}.npz"

    @property
    def finished(self) -> bool:
        """Training has ended: everything that profiling and export read is there."""
        return not self._missing()

    def write_recipe(self, recipe: Recipe) -> None:
        """Store the recipe with every default filled in."""
        files.write_text(self.recipe_path, yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))

    def read_recipe(self) -> Recipe:
        """The resolved recipe. Raises RecipeError where it does not hold together any more."""
        return load_recipe(self.recipe_path)

    def write_metadata(self, metadata: RunMetadata) -> None:
        """Store the metadata."""
        files.write_json(self.metadata_path, asdict(metadata))

    def read_metadata(self) -> RunMetadata:
        """The metadata. Raises RunError where they cannot be read."""
        stored = _read_json(self.metadata_path)
        try:
            return RunMetadata(
                dataset=stored["dataset"],
                input=stored["input"],
                classes=tuple(stored["classes"]),
                cuts=tuple(stored["cuts"]),
                images=stored["images"],
            )
        except KeyError as error:
            raise RunError(f"{self.metadata_path}: the key {error} is missing; train the run again") from error

    def write_environment(self, metadata: Mapping[str, Any]) -> None:
        """Store `environment_metadata()`."""
        files.write_json(self.environment_path, dict(metadata))

    def read_environment(self) -> dict[str, Any]:
        """What the run was trained with. Raises RunError where it cannot be read."""
        return _read_json(self.environment_path)

    def write_numerics(self, numerics: Mapping[str, Any]) -> None:
        """Store the precision and memory format of the training, as `edgemate.training.Numerics` writes itself."""
        files.write_json(self.numerics_path, dict(numerics))

    def read_numerics(self) -> dict[str, Any]:
        """The precision and memory format of the training. Raises RunError where they cannot be read."""
        return _read_json(self.numerics_path)

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Store the final figures."""
        files.write_json(self.metrics_path, dict(metrics))

    def read_metrics(self) -> dict[str, Any]:
        """The final figures. Raises RunError where they cannot be read."""
        return _read_json(self.metrics_path)

    def write_progress(self, progress: TrainingProgress) -> None:
        """Store how far the training is."""
        files.write_json(self.progress_path, asdict(progress))

    def read_progress(self) -> TrainingProgress | None:
        """How far the training is; None where that is not known."""
        try:
            return TrainingProgress(**json.loads(self.progress_path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write_logits(self, split: Split, logits: Float, labels: Labels) -> None:
        """Store what every exit said of a split: logits (N, K, C), labels (N,)."""
        files.write_arrays(self.logits_path(split), {"logits": logits, "labels": labels})

    def read_logits(self, split: Split) -> SplitLogits:
        """What every exit said of a split. Raises RunError where it cannot be read."""
        arrays = _read_arrays(self.logits_path(split), ("logits", "labels"))
        return SplitLogits(arrays["logits"], arrays["labels"])

    def write_golden(self, images: Float, labels: Labels) -> None:
        """Store some real test images, ready for the network: images (n, C, H, W), labels (n,)."""
        files.write_arrays(self.golden_path, {"images": images, "labels": labels})

    def read_golden(self) -> Golden:
        """Some real test images. Raises RunError where they cannot be read."""
        arrays = _read_arrays(self.golden_path, ("images", "labels"))
        return Golden(arrays["images"], arrays["labels"])

    def forget_results(self) -> None:
        """Delete what says how training ended and all that was made of it: it goes on, and these would be of the past.

        The final figures go first, so that the run counts as unfinished whenever this is stopped.
        """
        for path in (
            self.metrics_path,
            *(self.logits_path(split) for split in get_args(Split)),
            self.model_path,
            self.method_path,
            self.golden_path,
            self.policies_path,
            self.profile_path,
            self.tradeoff_csv_path,
            self.tradeoff_png_path,
        ):
            path.unlink(missing_ok=True)

    def _missing(self) -> list[str]:
        needed = (
            self.model_path,
            self.metadata_path,
            self.golden_path,
            self.logits_path("calibration"),
            self.logits_path("test"),
            self.metrics_path,
        )
        return [path.relative_to(self.path).as_posix() for path in needed if not path.is_file()]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(stored, dict):
        raise RunError(f"{path}: should be a JSON object, not {type(stored).__name__}")
    return stored


def _read_arrays(path: Path, names: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    try:
        arrays = files.read_arrays(path)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(f"{path}: cannot be read as arrays: {error}") from error
    for name in names:
        if name not in arrays:
            raise RunError(f"{path}: has no array {name!r}; train the run again")
    return arrays
