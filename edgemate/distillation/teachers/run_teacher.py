"""A run, or a checkpoint in one, as a teacher."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from edgemate.core.input_spec import InputSpec
from edgemate.distillation.teachers.named_teacher import NamedTeacher, load_values, size_of
from edgemate.distillation.teachers.networks import RunNetwork
from edgemate.distillation.teachers.reference import find_run
from edgemate.distillation.teachers.teacher import Teacher, TeacherNetwork
from edgemate.errors import DataError, RunError, UsageError
from edgemate.evaluation import untrained_model
from edgemate.runs import read_tensors


class RunTeacher(NamedTeacher):
    """The network of a run, whose last exit teaches.

    Args:
        reference: a run folder, or a file in its `checkpoints`.

    Raises:
        RunError: there is no such run, or it has not finished and no checkpoint of it is named.
        RecipeError: its recipe is not valid any more.
        UsageError: it names neither a run nor a checkpoint of one.
    """

    def __init__(self, reference: str) -> None:
        self.reference = reference
        self.run, self.checkpoint = find_run(reference)
        self.run.read_recipe()
        self.metadata = self.run.read_metadata()
        try:
            self.input = InputSpec.from_json(self.metadata.input)
        except DataError as error:
            raise RunError(f"{self.run.metadata_path}: {error}") from error
        self.normalization = (self.input.mean, self.input.std)
        self.route = self.run.kept_epochs()

    def untrained(self) -> Teacher:
        """The run's network with new weights."""
        shape = (self.input.channels, self.input.height, self.input.width)
        return Teacher(RunNetwork(untrained_model(self.run)), route=self.route, shape=shape)

    def check(self, metadata: InputSpec, classes: tuple[str, ...]) -> None:
        """Images of the same size, and the same classes."""
        ours, theirs = size_of(metadata), size_of(self.input)
        if ours != theirs:
            raise UsageError(f"{self.reference} was trained on images of {theirs}, this recipe has {ours}")
        if self.metadata.classes != classes:
            first = next(
                (pair for pair in zip(self.metadata.classes, classes, strict=False) if pair[0] != pair[1]), None
            )
            differ = f"; the first that differ are {first[0]!r} and {first[1]!r}" if first else ""
            raise UsageError(
                f"{self.reference} knows {len(self.metadata.classes)} classes, the data has {len(classes)}{differ}; "
                "they must be the same, in the same order"
            )

    def network(self, classes: tuple[str, ...]) -> TeacherNetwork:
        """With the weights of the run, or of the checkpoint."""
        path = self.checkpoint or self.run.model_path
        network = RunNetwork(untrained_model(self.run))
        weights = _network_part(path) if path.suffix == ".ckpt" else read_tensors(path)
        try:
            network.load(weights)
        except (RuntimeError, UsageError) as error:
            reason = " ".join(str(error).split())
            raise RunError(f"{path}: not weights of {self.run.recipe_path}'s network: {reason}") from error
        return network


def _network_part(path: Path) -> dict[str, Tensor]:
    """The network's part of a resumable checkpoint."""
    state = load_values(path).get("state_dict")
    if not isinstance(state, dict):
        raise RunError(f"{path}: holds no state_dict; name a checkpoint that `edgemate train` has written")
    return {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
