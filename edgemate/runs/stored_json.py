"""The JSON files of a run folder, with the types that the rest relies on; whatever is wrong is one RunError."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from edgemate.core.input_spec import InputSpec
from edgemate.errors import RunError
from edgemate.json_files import read_json
from edgemate.limits import CLASSES, EXITS
from edgemate.wording import key_path, shortened

Value = TypeVar("Value")
Name = Annotated[str, Field(min_length=1)]
Folder = Annotated[str, Field(pattern=r"^[^\x00]{1,4096}$")]
Count = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class StoredMetadata(BaseModel):
    """`metadata.json`, as `RunMetadata` describes it; other keys, such as the format's version, are left alone."""

    dataset: Name
    input: InputSpec
    classes: Annotated[tuple[str, ...], Field(min_length=1, max_length=CLASSES.most)]
    cuts: Annotated[tuple[str, ...], Field(max_length=EXITS.most)]
    images: dict[str, Count]


class StoredAccuracy(BaseModel):
    """The final figures of one split: images, and top-1 accuracy of every exit and of their ensemble."""

    model_config = ConfigDict(extra="allow")

    images: Count
    exits: Annotated[list[Fraction], Field(min_length=1, max_length=EXITS.most)]
    ensemble: Fraction


class StoredMetrics(BaseModel):
    """`metrics.json`: what is read of it, and anything else that training and its method report."""

    model_config = ConfigDict(extra="allow")

    accuracy: dict[str, StoredAccuracy] = {}
    train_seconds: Annotated[float, Field(ge=0)] = 0.0


class StoredFolder(BaseModel):
    """One entry of `plug_ins.json`: a module, and its folder in two forms."""

    module: Name
    folder: Folder
    from_run: Folder


class StoredPlugIns(BaseModel):
    """`plug_ins.json`."""

    folders: list[StoredFolder] = []


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises RunError if it cannot be read or is something else."""
    try:
        stored = read_json(path)
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(stored, dict):
        raise RunError(f"{path}: should be a JSON object, not {type(stored).__name__}")
    return stored


def read_checked(path: Path, kind: type[Value]) -> Value:
    """The JSON object in a file as a pydantic model or a dataclass.

    Raises:
        RunError: the file cannot be read, or a key is missing or has a value of another type; the first is named.
    """
    stored = read_object(path)
    try:
        return TypeAdapter(kind).validate_python(stored)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = key_path(first["loc"])
        if first["type"] == "missing":
            raise RunError(f"{path}: the key {key!r} is missing; train the run again") from error
        message = shortened(first["msg"].removeprefix("Value error, "))
        raise RunError(f"{path}: {key + ': ' if key else ''}{message}; train the run again") from error
