"""The exception tree.

    EdgemateError            anything a user can cause; the command line prints it as one line and exits with 2
    ├── UsageError           an option or argument that cannot be used as given
    ├── RecipeError          a recipe that cannot be read or is not valid; may list several problems
    ├── DataError            a data root, dataset or image that is missing or unreadable
    │   └── ImageError       one image that cannot be read or prepared; the others can still be classified
    ├── TrainingError        training that cannot continue (a loss that is not finite, a checkpoint of another recipe)
    │   └── DivergedError    the loss is not finite
    ├── RunError             a run folder that is missing, incomplete, not a run or of another format
    ├── BundleError          a bundle that is missing, damaged, unsafe or of another format
    ├── ExportError          a graph that cannot be made or does not agree with the network
    ├── BackendError         an inference backend that is not installed or cannot run this bundle
    └── ClosedError          an object that is used after it was closed; a RuntimeError too

Every message says what was given, what would work, and the path or key it is about.
"""

from __future__ import annotations

from collections.abc import Sequence


class EdgemateError(Exception):
    """Base of every error that a user can cause. `str(error)` is one message for a person."""

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines of the message: one, where it does not list several problems. A line end in one is no structure."""
        return (str(self),)


class UsageError(EdgemateError):
    """An option or argument that cannot be used as given."""


class RecipeError(EdgemateError):
    """A recipe with one problem or several.

    Args:
        source: the recipe as the user named it.
        problems: one sentence each, starting with the path of the key in the YAML.
    """

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        if len(self.problems) == 1:
            super().__init__(f"{source}: {self.problems[0]}")
        else:
            lines = "".join(f"\n  {problem}" for problem in self.problems)
            super().__init__(f"{source}: {len(self.problems)} problems{lines}")

    @property
    def lines(self) -> tuple[str, ...]:
        """The message, a line per problem where there are several."""
        if len(self.problems) == 1:
            return (str(self),)
        return (f"{self.source}: {len(self.problems)} problems", *(f"  {problem}" for problem in self.problems))


class DataError(EdgemateError):
    """A data root, dataset or image that is missing or unreadable.

    Args:
        message: what is wrong.
        more: a line for each of several things that are.
    """

    def __init__(self, message: str, more: Sequence[str] = ()) -> None:
        super().__init__(message + "".join(f"\n  {line}" for line in more))
        self._all = (message, *(f"  {line}" for line in more))

    @property
    def lines(self) -> tuple[str, ...]:
        """The message, and a line for each of several things."""
        return self._all


class ImageError(DataError):
    """One image that cannot be read or prepared."""


class TrainingError(EdgemateError):
    """Training that cannot continue."""


class DivergedError(TrainingError):
    """The loss is not finite; training the same recipe again would give the same."""


class RunError(EdgemateError):
    """A run folder that is missing, incomplete, not a run or of another format."""


class BundleError(EdgemateError):
    """A bundle that is missing, damaged, unsafe or of another format."""


class ExportError(EdgemateError):
    """A graph that cannot be made or does not agree with the network it came from."""


class BackendError(EdgemateError):
    """An inference backend that is not installed or cannot run this bundle."""


class ClosedError(EdgemateError, RuntimeError):
    """An object that is used after it was closed."""
