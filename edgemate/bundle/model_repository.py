"""A bundle's model repository for Triton: where it is, and what it needs. Checked before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from edgemate.bundle.manifest import Layout
from edgemate.errors import BundleError, UsageError

CONFIG_FILE = "config.pbtxt"
"""Of each model in it."""


def repository_of(bundle: Path) -> Path:
    """The folder of the repository of the bundle in folder `bundle`."""
    return bundle.with_name(f"{bundle.name}-triton")


def check_segments(layouts: Sequence[Layout]) -> None:
    """Raise UsageError where the segments, which a repository is made of, are not among the layouts of the bundle."""
    if "segments" not in layouts:
        others = ", ".join(layout for layout in get_args(Layout) if layout != "segments")
        raise UsageError(
            f"layouts {','.join(layouts)!r}: target triton runs segments; name segments, alone or with {others}"
        )


def check_engine_batch(batch: tuple[int, int, int]) -> None:
    """Raise UsageError where engines of these batches, least, best and most, take no single image.

    Clients send single images, and images leave a batch one by one. Triton does not fill it up again.
    """
    least, best, most = batch
    if least > 1:
        raise UsageError(
            f"batch {least}:{best}:{most}: a model repository needs engines that take a single image; "
            f"give 1:{best}:{most}"
        )


def check_repository(folder: Path, *, overwrite: bool) -> None:
    """Raise BundleError where a folder exists and is not a repository, or is one and may not be replaced."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir() or not all((model / CONFIG_FILE).is_file() for model in folder.iterdir()):
        raise BundleError(f"{folder}: exists and is not a model repository; choose another output")
    if not overwrite:
        raise BundleError(f"{folder}: already holds a model repository; `overwrite` replaces it")
