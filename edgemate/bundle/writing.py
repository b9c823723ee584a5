"""Writing a bundle in a hidden folder beside the target, whose place it takes when it is complete."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from edgemate import files
from edgemate.bundle.locking import writing_bundle
from edgemate.bundle.manifest import MANIFEST_FILE, BundleMetadata, FileContent, FileMetadata, Manifest
from edgemate.bundle.reading import Bundle
from edgemate.bundle.versioned_json import parse
from edgemate.errors import BundleError
from edgemate.output_place import bundle_around
from edgemate.swapping import new_folder, put_in_place, recover

# How long a complete bundle waits for a process that writes into the one that it replaces.
_WAIT_SECONDS = 30.0


class BundleWriter:
    """A context manager: put files below `.path`, then `.finish(metadata)`. Without `finish` nothing is left.

    A reader finds the old bundle whole or the new one, and so does who looks after a kill or a power cut.

    Args:
        target: the bundle's folder.
        overwrite: replace a bundle that is already there. A folder that is not a bundle is never replaced.

    Raises:
        BundleError: on entering, when `target` exists and may not be replaced, or another process writes into it.
        OSError: on entering, when no folder can be made beside it.
    """

    path: Path

    def __init__(self, target: str | Path, *, overwrite: bool = False) -> None:
        self.target = Path(target).resolve()
        self._overwrite = overwrite
        self._stack = ExitStack()

    def __enter__(self) -> BundleWriter:
        recover(self.target)
        self._check_target()
        self.path = self._stack.enter_context(new_folder(self.target))
        return self

    def check(self) -> None:
        """Check that the bundle can be written, before any work is done for it.

        Raises:
            BundleError: `target` exists and may not be replaced, or another process writes into it.
            OSError: no folder can be made beside it.
        """
        recover(self.target)
        self._check_target()
        files.check_folder(self.target.parent)
        with writing_bundle(self.target):
            pass

    def finish(self, metadata: BundleMetadata) -> Bundle:
        """Hash the files below `.path`, write `bundle.json`, and move the folder to the target in one step.

        Raises:
            BundleError: a graph's file is not there, the target may not be replaced, or another process writes into it.
        """
        listed = {
            path.relative_to(self.path).as_posix(): {"sha256": files.sha256(path), "bytes": path.stat().st_size}
            for path in sorted(self.path.rglob("*"))
            if path.is_file()
        }
        content = metadata.model_dump(mode="json") | {"files": listed}
        manifest = parse(content, Manifest, str(self.target / MANIFEST_FILE))
        _write_manifest(self.path, manifest)
        with writing_bundle(self.target, seconds=_WAIT_SECONDS):
            self._check_target()
            try:
                put_in_place(self.path, self.target, replace=self._overwrite)
            except FileExistsError as error:  # another process was faster
                raise BundleError(f"{self.target}: exists by now; choose another folder") from error
        return Bundle(self.target, manifest)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _check_target(self) -> None:
        around = bundle_around(self.target.parent)
        if around is not None:
            raise BundleError(f"{self.target}: is inside the bundle {around}; choose another place")
        if not self.target.exists():
            return
        if not (self.target / MANIFEST_FILE).is_file():
            raise BundleError(f"{self.target}: exists and is not a bundle; choose another folder")
        if not self._overwrite:
            raise BundleError(f"{self.target}: already holds a bundle; `overwrite` replaces it")


def replace_file(bundle: Bundle, relative: str, content: bytes) -> Bundle:
    """Replace or add one file of a bundle, and update its hash in the manifest.

    The rename of the file decides. Before it, the manifest gets the new hash as the file's `next`, so that it lists
    both contents; after it, as the only one. Whoever opens the bundle meanwhile, or after a kill, finds a manifest and
    a file that fit: the old content or the new one. The caller holds `writing_bundle`.

    Raises:
        BundleError: the manifest is not valid with the new file, or a link is where a file is to be written.
    """
    path = bundle.place(relative)
    bundle.place(MANIFEST_FILE)
    new = FileContent(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
    listed = bundle.manifest.files.get(relative)
    manifest = _listing(bundle, relative, FileMetadata(sha256=new.sha256, bytes=new.bytes))
    if listed is not None:
        now = _current(path, listed)
        both = FileMetadata(sha256=now.sha256, bytes=now.bytes, next=new)
        _write_manifest(bundle.path, _listing(bundle, relative, both))
    files.write_bytes(path, content)
    _write_manifest(bundle.path, manifest)
    return Bundle(bundle.path, manifest)


def _current(path: Path, listed: FileMetadata) -> FileContent:
    """Which of the contents that are listed the file has; after a kill it may be the `next` one."""
    after = listed.next
    if after is not None and path.is_file() and files.sha256(path) == after.sha256:
        return after
    return listed


def _listing(bundle: Bundle, relative: str, metadata: FileMetadata) -> Manifest:
    listed = dict(sorted({**bundle.manifest.files, relative: metadata}.items()))
    content = bundle.manifest.model_copy(update={"files": listed}).model_dump(mode="json")
    return parse(content, Manifest, str(bundle.path / MANIFEST_FILE))


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    files.write_json(folder / MANIFEST_FILE, manifest.model_dump(mode="json"))
