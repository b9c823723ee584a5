"""The session of docs/your-own-data.md, command by command, on a small folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ready_graphs import export_each_network_once
from typer.testing import CliRunner

from edgemate.cli.main import app

PAGE = Path(__file__).parents[2] / "docs" / "your-own-data.md"
COLORS = {"bolt": (200, 40, 40), "nut": (40, 200, 40), "washer": (40, 40, 200)}


def commands() -> list[list[str]]:
    text = PAGE.read_text(encoding="utf-8")
    lines = re.findall(r"^\$ edgemate (.*)$", text, flags=re.MULTILINE)
    return [shlex.split(line) for line in lines]


def changed(recipe: str) -> str:
    """The recipe with the lines of the page's diff."""
    (diff,) = re.findall(r"^```diff\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    removed = [line[1:] for line in diff.splitlines() if line.startswith("-")]
    added = [line[1:] for line in diff.splitlines() if line.startswith("+")]
    assert len(removed) == len(added) == 4
    lines = recipe.splitlines()
    for old, new in zip(removed, added, strict=True):
        lines[lines.index(old)] = new
    return "\n".join(lines)


@pytest.fixture
def my_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, color in COLORS.items():
        folder = tmp_path / "my_images" / name
        folder.mkdir(parents=True)
        for i in range(12):
            pixels = np.clip(rng.normal(color, 30, (48, 60 + i, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i:04}.jpg")
        (folder / ".DS_Store").write_bytes(b"stray")


@pytest.mark.usefixtures("my_images")
def test_the_session_runs_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    export_each_network_once(monkeypatch)
    names = []
    for arguments in commands():
        names.append(arguments[0])
        result = CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments)
        assert result.exit_code == 0, f"edgemate {shlex.join(arguments)}: {result.output} {result.exception!r}"
        if arguments[:2] == ["recipes", "copy"]:
            path = Path(arguments[3])
            # Nothing is downloaded in a test, as the page says for a machine without a network.
            text = changed(path.read_text(encoding="utf-8")).replace("weights: pretrained", "weights: null", 1)
            # Smaller images and fewer epochs, so that it takes seconds.
            text = text.replace("workers: 2", "workers: 0").replace("image_size: 224", "image_size: 64")
            path.write_text(re.sub(r"epochs: \d+", "epochs: 1", text), encoding="utf-8")
        if arguments[0] == "classify":
            assert len(re.findall(r"\d{4}\.jpg", result.output)) == 12
            assert any(name in result.output for name in COLORS)
    assert names == ["recipes", "data", "plan", "train", "profile", "export", "classify"]
