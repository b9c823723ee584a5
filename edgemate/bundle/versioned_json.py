"""JSON files of a bundle that say their format version first, so that an older edgemate can say what it meets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from edgemate.errors import BundleError

Model = TypeVar("Model", bound=BaseModel)


def read_versioned(path: Path, model: type[Model], version: int) -> Model:
    """`path` as a `model`.

    Raises:
        BundleError: it cannot be read, is no JSON, was made by a newer format than `version`, or breaks the schema
            (the message names the first offending key).
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: is no JSON: {error}") from error
    given = content.get("format_version") if isinstance(content, dict) else None
    if isinstance(given, int) and given > version:
        raise BundleError(
            f"{path}: made by a newer edgemate (format {given}); this one reads format {version}: upgrade edgemate"
        )
    return parse(content, model, str(path))


def parse(content: Any, model: type[Model], source: str) -> Model:
    """`content` as a `model`; BundleError names `source` and the first offending key."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"] if part != "[key]")
        said = first["msg"].removeprefix("Value error, ")
        raise BundleError(f"{source}: {key + ': ' if key else ''}{said}") from error
