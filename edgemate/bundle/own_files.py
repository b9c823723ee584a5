"""The files that belong to a bundle: what is signed and packed, and nothing that merely lies there."""

from __future__ import annotations

import re

from edgemate.bundle.manifest import MANIFEST_FILE, SIGNATURE_FILE
from edgemate.bundle.reading import Bundle
from edgemate.errors import BundleError

_OF_A_DEVICE = re.compile(r"latency/[A-Za-z0-9][A-Za-z0-9._-]*\.json|engines/[^./][^/]*/[^/]+\.engine(\.json)?")


def own_files(bundle: Bundle) -> list[str]:
    """Every file of the bundle, sorted: the manifest, what it lists, the signature, latency tables and engines.

    Raises:
        BundleError: the folder has a link, a special file, or a file that is none of these; the message names it.
    """
    found = list(bundle.folder.walk())
    for name in found:
        listed = name in (MANIFEST_FILE, SIGNATURE_FILE) or bundle.has(name)
        if not listed and not is_of_a_device(name):
            raise BundleError(f"{bundle.path / name}: is not a file of the bundle; remove it first")
    return found


def is_of_a_device(name: str) -> bool:
    """Whether a path is that of a latency table or of an engine, which no manifest lists."""
    return _OF_A_DEVICE.fullmatch(name) is not None


def engine_pairs(names: list[str]) -> list[tuple[str, str]]:
    """The engines among these files, each with the file of its metadata."""
    return [(name, name + ".json") for name in names if name.endswith(".engine")]
