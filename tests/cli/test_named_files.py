"""A named pipe in place of a file that the user names: nobody may ever write to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "PIPE"),
        ("recipes", "validate", "PIPE"),
        ("images", "PIPE"),
        ("profile", "BUNDLE", "--compare", "PIPE"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_it_is_not_waited_for(own_bundle: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    given = [{"PIPE": str(pipe), "BUNDLE": str(own_bundle)}.get(word, word) for word in arguments]
    result = subprocess.run(
        [sys.executable, "-m", "edgemate", *given], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert result.returncode == 2
    assert "it is a named pipe; name a file" in result.stderr
    assert result.stderr.count("\n") == 1
