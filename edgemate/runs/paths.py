"""Where each file of a run is, in its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgemate.runs.records import Split


@dataclass(frozen=True)
class RunPaths:
    """The paths of a run's files.

    Attributes:
        path: the folder; its name is the run's name.
    """

    path: Path

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name

    @property
    def recipe_path(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def plug_ins_path(self) -> Path:
        """Folders of the modules that the recipe names by dotted paths; absent if it names none."""
        return self.path / "plug_ins.json"

    @property
    def metadata_path(self) -> Path:
        """`RunMetadata`, with the format version of the run."""
        return self.path / "metadata.json"

    @property
    def environment_path(self) -> Path:
        """`environment_metadata()` of the training."""
        return self.path / "environment.json"

    @property
    def numerics_path(self) -> Path:
        """Precision and memory format of the training, with the reasons for the choice."""
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
        """`TrainingProgress`; exists only while the training runs, or after it was interrupted."""
        return self.path / "progress.json"

    @property
    def metrics_path(self) -> Path:
        """Final figures: accuracy per split and exit, training time."""
        return self.path / "metrics.json"

    @property
    def per_class_path(self) -> Path:
        """Images and accuracy at every exit, by split and class."""
        return self.path / "per_class.csv"

    @property
    def confusion_path(self) -> Path:
        """Images by split, exit, class and named class."""
        return self.path / "confusion.csv"

    @property
    def checkpoints_path(self) -> Path:
        """Folder of resumable checkpoints."""
        return self.path / "checkpoints"

    def epoch_path(self, epoch: int) -> Path:
        """The model's weights after an epoch, counted from 1; exists if `training.keep_every` keeps that epoch."""
        return self.checkpoints_path / f"epoch_{epoch}.safetensors"

    def kept_epochs(self) -> dict[int, Path]:
        """Epoch → path of the model's weights after it, for all kept epochs, in order."""
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
        """The distillation method's own parameters; absent if it has none."""
        return self.path / "method.safetensors"

    @property
    def golden_path(self) -> Path:
        """`Golden`: test images after preprocessing, and their labels."""
        return self.path / "golden.npz"

    @property
    def policies_path(self) -> Path:
        """Operating points from `edgemate calibrate`; absent before its first call."""
        return self.path / "policies.json"

    @property
    def profile_path(self) -> Path:
        """The result of `edgemate profile`."""
        return self.path / "profile.json"

    @property
    def tradeoff_csv_path(self) -> Path:
        """The points of the trade-off curves."""
        return self.path / "tradeoff.csv"

    @property
    def report_paths(self) -> tuple[Path, ...]:
        """The page of the profile, and the curves that it shows."""
        return tuple(
            self.path / name for name in ("report.html", *(f"curves.{kind}" for kind in ("png", "svg", "csv", "json")))
        )

    def logits_path(self, split: Split) -> Path:
        """`SplitLogits` of one split: logits and labels."""
        return self.path / "logits" / f"{split}.npz"
