from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest

from edgemate.runtime.backends.tensorrt import publishing
from edgemate.runtime.backends.tensorrt.engine_metadata import metadata_path
from edgemate.runtime.backends.tensorrt.loading import EngineFile
from edgemate.runtime.backends.tensorrt.publishing import publish


def engine(path: Path, content: str) -> EngineFile:
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    metadata_path(path).write_text(content)
    return EngineFile(path, cast("Any", None), cast("Any", None))


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


def test_engines_take_the_place_of_others_of_their_names_and_the_rest_stays(tmp_path: Path) -> None:
    there = tmp_path / "orin"
    for name in ("segment_1", "segment_2", "prefix_1"):
        engine(there / f"{name}.engine", "old")
    ready = [engine(tmp_path / ".orin.part" / f"segment_{k}.engine", "new") for k in (1, 2)]
    found = publish(ready, there)
    assert [one.path for one in found] == [there / "segment_1.engine", there / "segment_2.engine"]
    new, old = ("new", "new"), ("old", "old")
    by_name = contents(there)
    pairs = {name: (by_name[name], by_name[f"{name}.json"]) for name in by_name if name.endswith(".engine")}
    assert pairs == {"prefix_1.engine": old, "segment_1.engine": new, "segment_2.engine": new}
    assert contents(tmp_path / ".orin.part") == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == [".orin.part", "orin"]


@pytest.mark.parametrize("links", [True, False])
def test_where_they_cannot_be_moved_all_stay(tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "orin"
    engine(there / "segment_1.engine", "old")
    ready = [engine(tmp_path / ".orin.part" / "segment_1.engine", "new")]

    def refuse(*given: object) -> None:
        raise OSError(28, "No space left on device")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "put_in_place", refuse)
        with pytest.raises(OSError, match="No space"):
            publish(ready, there)
    assert set(contents(there).values()) == {"old"}
    assert set(contents(tmp_path / ".orin.part").values()) == {"new"}
    assert publish(ready, there)[0].path.read_text() == "new"
