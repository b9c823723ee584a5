"""Writing a bundle in a temporary folder beside the target, which is renamed when the bundle is complete."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from pathlib import Path
from types import TracebackType

from edgemate import files
from edgemate.bundle.manifest import MANIFEST_FILE, BundleMetadata, Manifest
from edgemate.bundle.reading import Bundle
from edgemate.bundle.versioned_json import parse
from edgemate.errors import BundleError


class BundleWriter:
    """A context manager: put files below `.path`, then `.finish(metadata)`. Without `finish` nothing is left.

    Args:
        target: the bundle's folder.
        overwrite: replace a bundle that is already there. A folder that is not a bundle is never replaced.

    Raises:
        BundleError: on entering, when `target` exists and may not be replaced.
    """

    def __init__(self, target: str | Path, *, overwrite: bool = False) -> None:
        self.target = Path(target).resolve()
        self.path = _beside(self.target, "part")
        self._overwrite = overwrite

    def __enter__(self) -> BundleWriter:
        self._check_target()
        self.path.mkdir(parents=True)
        return self

    def check(self) -> None:
        """Check that the bundle can be written, before any work is done for it.

        Raises:
            BundleError: `target` exists and may not be replaced.
            OSError: no folder can be made beside it.
        """
        self._check_target()
        files.check_folder(self.path.parent)

    def finish(self, metadata: BundleMetadata) -> Bundle:
        """Hash the files below `.path`, write `bundle.json`, and move the folder to the target in one step.

        Raises:
            BundleError: a graph's file is not there, or the target may not be replaced.
        """
        listed = {
            path.relative_to(self.path).as_posix(): {"sha256": files.sha256(path), "bytes": path.stat().st_size}
            for path in sorted(self.path.rglob("*"))
            if path.is_file()
        }
        content = metadata.model_dump(mode="json") | {"files": listed}
        manifest = parse(content, Manifest, str(self.target / MANIFEST_FILE))
        files.write_json(self.path / MANIFEST_FILE, manifest.model_dump(mode="json"))
        self._move_into_place()
        return Bundle(self.target, manifest)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def _check_target(self) -> None:
        if not self.target.exists():
            return
        if not (self.target / MANIFEST_FILE).is_file():
            raise BundleError(f"{self.target}: exists and is not a bundle; choose another folder")
        if not self._overwrite:
            raise BundleError(f"{self.target}: already holds a bundle; `overwrite` replaces it")

    def _move_into_place(self) -> None:
        self._check_target()
        if not self.target.exists():
            self.path.rename(self.target)
            return
        old = _beside(self.target, "old")
        self.target.rename(old)
        try:
            self.path.rename(self.target)
        except BaseException:
            old.rename(self.target)
            raise
        shutil.rmtree(old, ignore_errors=True)


def replace_file(bundle: Bundle, relative: str, content: bytes) -> Bundle:
    """Replace or add one file of a bundle, and update its hash in the manifest.

    Both files are replaced atomically, one after the other. If power fails between the two, opening the bundle reports
    that `relative` was changed, and a second call repairs it.

    Raises:
        BundleError: the manifest is not valid with the new file, or a link is where a file is to be written.
    """
    path = bundle.place(relative)
    metadata = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    listed = bundle.manifest.model_dump(mode="json")
    listed["files"] = dict(sorted({**listed["files"], relative: metadata}.items()))
    manifest = parse(listed, Manifest, str(bundle.path / MANIFEST_FILE))
    files.write_bytes(path, content)
    files.write_json(bundle.place(MANIFEST_FILE), manifest.model_dump(mode="json"))
    return Bundle(bundle.path, manifest)


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.{suffix}")
