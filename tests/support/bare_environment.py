"""A Python that has what a device has and nothing else: edgemate, its base dependencies, and chosen extras."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement

import edgemate


def build(folder: Path, extras: Sequence[str] = ("ort",)) -> Path:
    """Fill `folder` with links to the allowed distributions' packages, found by walking edgemate's requirements."""
    folder.mkdir(parents=True)
    (folder / "edgemate").symlink_to(Path(edgemate.__file__).parent)
    for name in _required("edgemate", extras):
        distribution = importlib.metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            link = folder / top
            if not link.exists():  # google, of protobuf, is shared between distributions
                link.symlink_to(Path(str(distribution.locate_file(top))))
    return folder


def run(folder: Path, code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Python `code` with the standard library and `folder` to import from."""
    return subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.append({str(folder)!r})\n{code}",
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _required(root: str, extras: Sequence[str]) -> set[str]:
    found: set[str] = set()
    waiting = [(root, tuple(extras))]
    while waiting:
        name, wanted = waiting.pop()
        for line in importlib.metadata.requires(name) or ():
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in ("", *wanted)):
                continue
            if requirement.name not in found:
                found.add(requirement.name)
                waiting.append((requirement.name, tuple(requirement.extras)))
    return found
