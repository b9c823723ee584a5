"""Engines that a test wrote by hand, recorded as `edgemate build` records those that it builds."""

from __future__ import annotations

from pathlib import Path

from edgemate import files
from edgemate.trust import Ledger


def record_as_built(bundle: Path) -> None:
    """Record every engine in a bundle's folder, with the metadata beside it, as built by this machine."""
    for engine in (bundle / "engines").rglob("*.engine"):
        Ledger.of_this_user().record(files.sha256(engine), files.sha256(engine.with_name(engine.name + ".json")))
