"""JSON files with a format version, which is compared before anything else is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from edgemate.errors import BundleError
from edgemate.json_files import parse_json
from edgemate.wording import key_path, other_format, shortened

Model = TypeVar("Model", bound=BaseModel)


def read_versioned(
    path: Path, model: type[Model], version: int, *, remedy: str = "write it again", content: bytes | None = None
) -> Model:
    """Read a JSON file into a pydantic model.

    Args:
        path: the file.
        model: its schema.
        version: the `format_version` that this edgemate writes, the only one that it reads.
        remedy: what to do about a file of an older format, as the end of the message.
        content: of the file, where the caller has read it; `path` is then for messages only.

    Raises:
        BundleError: the file cannot be read, is not valid JSON, has another format version, or breaks the schema (the
            message names the first offending key).
    """
    try:
        found = parse_json(path.read_bytes() if content is None else content)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BundleError(f"{path}: not valid JSON: {error}") from error
    given = found.get("format_version") if isinstance(found, dict) else None
    problem = other_format(given, version, remedy) if isinstance(given, int) else None
    if problem:
        raise BundleError(f"{path}: {problem}")
    return parse(found, model, str(path))


def parse(content: Any, model: type[Model], source: str) -> Model:
    """`content` as a `model`; BundleError names `source` and the first offending key."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = key_path(first["loc"])
        message = shortened(first["msg"].removeprefix("Value error, "))
        raise BundleError(f"{source}: {key + ': ' if key else ''}{message}") from error
