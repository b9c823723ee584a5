"""All targets, by name."""

from __future__ import annotations

from pathlib import Path

from fuzzing.bundle_targets import bundle_targets
from fuzzing.file_targets import file_targets
from fuzzing.worker import Target


def make_targets(folder: Path) -> dict[str, Target]:
    """Name → target; what they mutate is written to `folder` now."""
    import onnxruntime  # noqa: F401  # once, before the processes of the cases are forked

    return {**bundle_targets(folder), **file_targets(folder)}
