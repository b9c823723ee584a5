from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from edgemate.bundle.versioned_json import read_versioned
from edgemate.errors import BundleError


class Point(BaseModel):
    format_version: int
    sizes: dict[str, int]


def read(path: Path, content: Any) -> Point:
    path.write_text(json.dumps(content))
    return read_versioned(path, Point, 3)


def test_the_own_format_is_read(tmp_path: Path) -> None:
    assert read(tmp_path / "p.json", {"format_version": 3, "sizes": {"a": 1}}).sizes == {"a": 1}


def test_a_newer_format_is_refused_with_both_numbers(tmp_path: Path) -> None:
    with pytest.raises(
        BundleError, match=r"p\.json: was written by a newer edgemate \(format 4\); this one reads format 3"
    ):
        read(tmp_path / "p.json", {"format_version": 4})


def test_an_older_format_is_refused_with_a_remedy(tmp_path: Path) -> None:
    message = r"p\.json: was written by an older edgemate \(format 2\); this one reads format 3: write it again$"
    with pytest.raises(BundleError, match=message):
        read(tmp_path / "p.json", {"format_version": 2})


def test_a_nested_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"p\.json: sizes\.b: Input should be a valid integer"):
        read(tmp_path / "p.json", {"format_version": 3, "sizes": {"a": 1, "b": "x"}})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"p\.json: cannot be read: No such file"):
        read_versioned(tmp_path / "p.json", Point, 3)
