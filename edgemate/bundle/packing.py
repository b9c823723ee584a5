"""A bundle as one file: an uncompressed tar of its files, the same bytes for the same bundle.

What is written is all that is read: plain files with relative paths, in order, each with its size before it. Anything
else is refused before it is written, and the folder takes its place when the bundle in it was checked.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from edgemate.bundle.locking import writing_bundle
from edgemate.bundle.manifest import MANIFEST_FILE, SIGNATURE_FILE
from edgemate.bundle.own_files import is_of_a_device, own_files
from edgemate.bundle.reading import Bundle, read_manifest
from edgemate.durable import whole_file
from edgemate.errors import BundleError
from edgemate.limits import BUNDLE_FILES, JSON_BYTES
from edgemate.output_place import bundle_around
from edgemate.swapping import new_folder, put_in_place
from edgemate.trust.folder import inside
from edgemate.wording import engineering

MOST_BYTES = 64 << 30
_BLOCK = 512
_CHUNK = 1 << 20
_KINDS = {
    b"1": "a hard link",
    b"2": "a link",
    b"3": "a device",
    b"4": "a device",
    b"5": "a folder",
    b"6": "a FIFO",
}


def pack_bundle(bundle: Bundle, target: Path) -> None:
    """Write a bundle to one file, atomically.

    Args:
        bundle: the bundle; its hashes are checked again, while nobody else may write into it.
        target: the file; it must not exist.

    Raises:
        BundleError: the target exists or is inside the bundle, the folder has a file that is not the bundle's, or
            another process writes into it.
        OSError: the file cannot be written.
    """
    if target.exists() or target.is_symlink():
        raise BundleError(f"{target}: exists; choose another file")
    if target.resolve().is_relative_to(bundle.path.resolve()):
        raise BundleError(f"{target}: is inside the bundle; choose another place")
    with (
        writing_bundle(bundle.path),  # what changes meanwhile would be packed by half
        _naming(target),
        whole_file(target) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        now = Bundle.open(bundle.path)  # it may have changed before it was locked
        for name in own_files(now):
            _add(archive, now, name)


def unpack_bundle(source: Path, target: Path, *, trusted_keys: Path | None = None) -> Bundle:
    """Write the bundle in one file to a folder, and check it before the folder takes its place.

    Args:
        source: the file.
        target: the folder; it must not exist.
        trusted_keys: a file or folder of public keys; the bundle must be signed by one of them.

    Raises:
        BundleError: the target exists or is inside a bundle; the file is no packed bundle, has something else than
            plain files, more of them or more bytes than the limits, or a path that leaves the folder; or the bundle in
            it is damaged.
        OSError: the file cannot be read, or the folder not written.
    """
    if target.exists() or target.is_symlink():
        raise BundleError(f"{target}: exists; choose another folder")
    around = bundle_around(target.absolute().parent)
    if around is not None:
        raise BundleError(f"{target}: is inside the bundle {around}; choose another place")
    with _naming(source), _plain(source) as stream:
        _check(stream, source)
        stream.seek(0)
        with _naming(target), new_folder(target) as part:
            for name, size in _members(stream, source):
                _extract(stream, size, part / name)
            try:
                Bundle.open(part, trusted_keys=trusted_keys)
            except BundleError as error:
                raise BundleError(str(error).replace(str(part), str(source))) from error
            try:
                put_in_place(part, target, replace=False)
            except FileExistsError as error:  # another process was faster
                raise BundleError(f"{target}: exists by now; choose another folder") from error
    return Bundle.open(target, verify=False, trusted_keys=trusted_keys)


def _add(archive: tarfile.TarFile, bundle: Bundle, name: str) -> None:
    with bundle.folder.open(name) as content:
        member = tarfile.TarInfo(name)
        member.size = os.fstat(content.fileno()).st_size
        member.mode = 0o644
        try:
            archive.addfile(member, content)
        except ValueError as error:  # a path of more than 255 bytes, or a file of 8 GiB
            raise BundleError(f"{bundle.path / name}: cannot be packed: {error}") from error


def _check(stream: BinaryIO, source: Path) -> None:
    """Read through all headers, and the manifest, before anything is written."""
    sizes: dict[str, int] = {}
    total = 0
    manifest = b""
    for name, size in _members(stream, source):
        if name in sizes or any(other in sizes for other in _above(name)):
            raise BundleError(f"{source}: has {name!r} twice, or as a file and a folder")
        if name in (MANIFEST_FILE, SIGNATURE_FILE) and size > JSON_BYTES.most:
            raise BundleError(f"{source}: its {name} {JSON_BYTES.exceeded(size)}")
        sizes[name] = size
        total += size
        if len(sizes) > BUNDLE_FILES.most:
            raise BundleError(f"{source}: {BUNDLE_FILES.exceeded()}")
        if total > MOST_BYTES:
            raise BundleError(f"{source}: has more than {engineering(MOST_BYTES, 'B')}, which is the limit")
        if name == MANIFEST_FILE:
            manifest = stream.read(size)
        else:
            stream.seek(size, os.SEEK_CUR)
    folders = {above for name in sizes for above in _above(name)}
    clash = sorted(sizes.keys() & folders)
    if clash:
        raise BundleError(f"{source}: has {clash[0]!r} as a file and a folder")
    if MANIFEST_FILE not in sizes:
        raise BundleError(f"{source}: is no packed bundle: it has no {MANIFEST_FILE}")
    _compare(sizes, manifest, source)


def _compare(sizes: Mapping[str, int], content: bytes, source: Path) -> None:
    """Compare the files with what the manifest lists; hashes are compared once they are written."""
    listed = read_manifest(source / MANIFEST_FILE, content).files
    for name, size in sizes.items():
        if name in (MANIFEST_FILE, SIGNATURE_FILE):
            continue
        if name in listed:
            if size not in [written.bytes for written in listed[name].contents]:
                raise BundleError(
                    f"{source / name}: has {size} bytes where {listed[name].bytes} were written; copy the bundle again"
                )
        elif not is_of_a_device(name):
            raise BundleError(f"{source / name}: is not a file of the bundle; pack it again")
    missing = next((name for name in listed if name not in sizes), None)
    if missing is not None:
        raise BundleError(f"{source / missing}: listed in {MANIFEST_FILE} but missing; pack the bundle again")


def _members(stream: BinaryIO, source: Path) -> Iterator[tuple[str, int]]:
    """Path and size of each file; whoever takes one reads its content, and the padding after it is skipped here."""
    length = os.fstat(stream.fileno()).st_size
    while True:
        header = stream.read(_BLOCK)
        if not header.strip(b"\0"):
            return
        try:
            member = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        except (tarfile.HeaderError, ValueError) as error:
            raise BundleError(f"{source}: is no packed bundle: {error}") from error
        if member.type != tarfile.REGTYPE:
            kind = _KINDS.get(member.type, "something that edgemate does not pack")
            raise BundleError(f"{source}: has {kind} ({member.name!r}); a packed bundle has plain files only")
        try:
            name = inside(member.name)
        except ValueError as error:
            raise BundleError(f"{source}: {error}") from error
        start = stream.tell()
        if member.size < 0 or start + member.size > length:
            raise BundleError(f"{source}: is cut short, in {name!r}")
        yield name, member.size
        stream.seek(start + -(-member.size // _BLOCK) * _BLOCK)


def _extract(stream: BinaryIO, size: int, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as target:
        while size > 0:
            chunk = stream.read(min(size, _CHUNK))
            if not chunk:
                raise BundleError(f"{path}: is cut short")
            target.write(chunk)
            size -= len(chunk)


def _plain(source: Path) -> BinaryIO:
    """The file, opened. A FIFO or a device, which might never end, is refused."""
    descriptor = os.open(source, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BundleError(f"{source}: is no plain file; name a file that `edgemate bundle pack` wrote")
    return os.fdopen(descriptor, "rb")


def _above(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let an OSError name this path, whichever step failed."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = error.filename or str(path), None
        raise
