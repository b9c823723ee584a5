"""Where a bundle's model repository for Triton is: beside it. Checked before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path

from edgemate.errors import BundleError

CONFIG_FILE = "config.pbtxt"
"""Of each model in it."""


def repository_of(bundle: Path) -> Path:
    """The folder of the repository of the bundle in folder `bundle`."""
    return bundle.with_name(f"{bundle.name}-triton")


def check_repository(folder: Path, *, overwrite: bool) -> None:
    """Raise BundleError where a folder exists and is not a repository, or is one and may not be replaced."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir() or not all((model / CONFIG_FILE).is_file() for model in folder.iterdir()):
        raise BundleError(f"{folder}: exists and is not a model repository; choose another output")
    if not overwrite:
        raise BundleError(f"{folder}: already holds a model repository; `overwrite` replaces it")
