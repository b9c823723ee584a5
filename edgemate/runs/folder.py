"""`Run`: the folder that training writes, and that profiling and export read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import yaml

from edgemate import files, plug_ins
from edgemate.array_files import read_arrays
from edgemate.config import Recipe, load_recipe
from edgemate.config.parts import own_modules
from edgemate.durable import make_folder
from edgemate.errors import RunError
from edgemate.file_group import finish_groups
from edgemate.runs.blank import is_blank
from edgemate.runs.logits_file import read_logits_file, write_logits_file
from edgemate.runs.paths import RunPaths
from edgemate.runs.plug_in_folders import found_folders, stored_folders
from edgemate.runs.records import Float, Golden, Labels, RunMetadata, Split, SplitLogits, TrainingProgress
from edgemate.runs.stored_json import StoredMetadata, StoredMetrics, StoredPlugIns, read_checked, read_object
from edgemate.swapping import recover
from edgemate.wording import other_format

FORMAT_VERSION = 2
"""Of the run folder: its file names and their keys. Format 1 had `facts.json` in place of `metadata.json`."""

_OLD_METADATA_FILE = "facts.json"


@dataclass(frozen=True)
class Run(RunPaths):
    """A run folder. `Run.create` starts one, `Run.open` reads one.

    Attributes:
        path: the folder; its name is the run's name.
        allow_plugins: whether the code that its recipe names by dotted paths may be imported.
    """

    allow_plugins: bool = False

    @classmethod
    def create(cls, path: str | Path) -> Run:
        """Make an empty run folder. Raises RunError if the folder exists and is not blank (`edgemate.runs.blank`)."""
        run = cls(Path(path))
        if not is_blank(run.path):
            raise RunError(f"{path}: is not empty; resume the run in it, or choose another folder")
        make_folder(run.path)
        return run

    @classmethod
    def open(
        cls, path: str | Path, *, finished: bool = True, any_format: bool = False, allow_plugins: bool = False
    ) -> Run:
        """The run in a folder.

        Args:
            path: the folder.
            finished: require that training has ended; resuming opens runs that have not.
            any_format: accept a run of another format too, as for deleting it.
            allow_plugins: let the code be imported that its recipe names by dotted paths.

        Raises:
            RunError: the folder does not exist, is not a run, was written in another format, or training has not
                finished.
        """
        run = cls(Path(path), allow_plugins)
        recover(run.path)
        finish_groups(run.path)
        if not run.path.is_dir():
            raise RunError(f"{path}: there is no such run folder; `edgemate train RECIPE` makes one")
        if not run.recipe_path.is_file():
            raise RunError(f"{path}: not a run: it has no {run.recipe_path.name}")
        if not any_format:
            run.check_format()
        if finished and not run.finished:
            raise RunError(f"{path}: training has not finished ({run._missing()[0]} is missing); resume it")
        return run

    @property
    def finished(self) -> bool:
        """Whether training has ended: every file that profiling and export read exists."""
        return not self._missing()

    def check_format(self) -> None:
        """RunError where another version of edgemate wrote the folder in a format that this one does not read."""
        if self.metadata_path.is_file():
            given = read_object(self.metadata_path).get("format_version", 1)
        elif (self.path / _OLD_METADATA_FILE).is_file():
            given = 1
        else:
            return  # a training that was interrupted before it wrote its metadata
        problem = other_format(given, FORMAT_VERSION, "train the run again") if isinstance(given, int) else None
        if problem:
            raise RunError(f"{self.path}: {problem}")

    def write_recipe(self, recipe: Recipe) -> None:
        """Store the recipe with every default filled in, and where the modules of its dotted paths are."""
        tree = recipe.model_dump(mode="json")
        folders = stored_folders(own_modules(tree), self.path)
        if folders:
            files.write_json(self.plug_ins_path, {"folders": folders})
        # Last: the recipe makes the folder a run.
        files.write_text(self.recipe_path, yaml.safe_dump(tree, sort_keys=False))

    def read_recipe(self) -> Recipe:
        """The resolved recipe. Its own modules, if they are allowed, are searched where they were when it was written.

        Raises:
            RecipeError: it is not valid for this version any more, or names code that is not allowed or not found.
            RunError: plug_ins.json cannot be read.
        """
        with plug_ins.allowed_in_runs(self.allow_plugins):
            folders = self._plug_in_folders() if plug_ins.are_allowed_in_runs() else []
            return load_recipe(self.recipe_path, folders=folders, of_run=True)

    def _plug_in_folders(self) -> list[Path]:
        known = self.plug_ins_path.is_file()
        stored = read_checked(self.plug_ins_path, StoredPlugIns) if known else StoredPlugIns()
        return found_folders(stored.folders, self.path)

    def write_metadata(self, metadata: RunMetadata) -> None:
        """Store the metadata."""
        files.write_json(self.metadata_path, {"format_version": FORMAT_VERSION, **asdict(metadata)})

    def read_metadata(self) -> RunMetadata:
        """The metadata. Raises RunError if it cannot be read or is of another format."""
        self.check_format()
        stored = read_checked(self.metadata_path, StoredMetadata)
        return RunMetadata(
            dataset=stored.dataset,
            input=stored.input.to_json(),
            classes=stored.classes,
            cuts=stored.cuts,
            images=stored.images,
        )

    def write_environment(self, metadata: Mapping[str, Any]) -> None:
        """Store the result of `environment_metadata()`."""
        files.write_json(self.environment_path, dict(metadata))

    def write_numerics(self, numerics: Mapping[str, Any]) -> None:
        """Store the precision and memory format of the training, as `edgemate.training.Numerics` writes itself."""
        files.write_json(self.numerics_path, dict(numerics))

    def read_numerics(self) -> dict[str, Any]:
        """The precision and memory format of the training. Raises RunError if the file cannot be read."""
        return read_object(self.numerics_path)

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Store the final figures."""
        files.write_json(self.metrics_path, dict(metrics))

    def read_metrics(self) -> dict[str, Any]:
        """The final figures. Raises RunError if the file cannot be read or is not what training writes."""
        return read_checked(self.metrics_path, StoredMetrics).model_dump(exclude_unset=True)

    def write_progress(self, progress: TrainingProgress) -> None:
        """Store the progress of the training."""
        files.write_json(self.progress_path, asdict(progress))

    def read_progress(self) -> TrainingProgress | None:
        """The progress of the training; None if it is not known."""
        try:
            return read_checked(self.progress_path, TrainingProgress)
        except RunError:
            return None

    def write_logits(self, split: Split, logits: Float, labels: Labels) -> None:
        """Store the logits of every exit on a split, float32 (N, K, C), and the labels, int64 (N,)."""
        self.stream_logits(split, [(logits, labels)], len(labels))

    def stream_logits(self, split: Split, batches: Iterable[tuple[Float, Labels]], images: int) -> None:
        """Store the logits and labels of a split as they come; `images` is how many there are in all batches.

        Raises:
            RunError: there are none, or more or fewer.
        """
        try:
            write_logits_file(self.logits_path(split), batches, images)
        except ValueError as error:
            raise RunError(f"{self.logits_path(split)}: cannot be written: {error}") from error

    def read_logits(self, split: Split) -> SplitLogits:
        """The logits of every exit on a split.

        Raises:
            RunError: the file cannot be read, or has arrays of other dtypes or shapes, or labels that are no classes.
        """
        path = self.logits_path(split)
        arrays = _read_arrays(path, ("logits", "labels"), read_logits_file)
        logits, labels = arrays["logits"], arrays["labels"]
        if logits.ndim != 3 or logits.dtype not in (np.float32, np.float16) or not all(logits.shape):
            raise RunError(
                f"{path}: logits must be float32 (images, exits, classes), not {logits.dtype} {logits.shape}"
            )
        _check_labels(path, labels, len(logits))
        if not 0 <= labels.min() <= labels.max() < logits.shape[2]:
            raise RunError(
                f"{path}: labels are from {labels.min()} to {labels.max()}; the logits are of {logits.shape[2]} classes"
            )
        return SplitLogits(logits, labels)

    def write_golden(self, images: Float, labels: Labels) -> None:
        """Store some test images after preprocessing, float32 (n, C, H, W), and their labels, int64 (n,)."""
        files.write_arrays(self.golden_path, {"images": images, "labels": labels})

    def read_golden(self) -> Golden:
        """The stored test images and labels. Raises RunError if the file cannot be read."""
        arrays = _read_arrays(self.golden_path, ("images", "labels"))
        images, labels = arrays["images"], arrays["labels"]
        if images.ndim != 4 or images.dtype != np.float32 or not all(images.shape):
            raise RunError(
                f"{self.golden_path}: images must be float32 (n, C, H, W), not {images.dtype} {images.shape}"
            )
        _check_labels(self.golden_path, labels, len(images))
        return Golden(images, labels)

    def delete_results(self) -> None:
        """Delete the final figures and everything derived from the trained weights, before training continues.

        The final figures are deleted first, so that an interrupted call leaves a run that counts as unfinished.
        """
        for path in (
            self.metrics_path,
            *(self.logits_path(split) for split in get_args(Split)),
            self.model_path,
            self.method_path,
            self.golden_path,
            self.per_class_path,
            self.confusion_path,
            self.policies_path,
            self.profile_path,
            self.tradeoff_csv_path,
            *self.report_paths,
        ):
            path.unlink(missing_ok=True)

    def _missing(self) -> list[str]:
        required = (
            self.model_path,
            self.metadata_path,
            self.golden_path,
            self.logits_path("calibration"),
            self.logits_path("test"),
            self.metrics_path,
        )
        return [path.relative_to(self.path).as_posix() for path in required if not path.is_file()]


def _read_arrays(
    path: Path,
    names: tuple[str, ...],
    read: Callable[[Path, tuple[str, ...]], dict[str, npt.NDArray[Any]]] = read_arrays,
) -> dict[str, npt.NDArray[Any]]:
    try:
        arrays = read(path, names)
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read as arrays: {error}") from error
    for name in names:
        if name not in arrays:
            raise RunError(f"{path}: has no array {name!r}; train the run again")
    return arrays


def _check_labels(path: Path, labels: npt.NDArray[Any], images: int) -> None:
    if labels.dtype != np.int64 or labels.shape != (images,):
        raise RunError(f"{path}: labels must be int64 ({images},), not {labels.dtype} {labels.shape}")
