"""Where a command may write the file or the folder that its user names, without destroying anything else."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from edgemate import files
from edgemate.errors import UsageError

# What makes a folder a bundle, a run or a comparison.
_OWN = {"bundle.json": "a bundle", "recipe.yaml": "a run", "comparison.json": "a comparison"}


def check_output_file(path: Path) -> None:
    """Check that a JSON file can be written, without leaving anything behind. One that is there is replaced.

    Raises:
        UsageError: there is something else than a JSON file: a link, a device, a file of another kind; or the place is
            inside a bundle.
        OSError: it cannot be written.
    """
    try:
        found = os.lstat(path)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise
    else:
        if stat.S_ISDIR(found.st_mode):
            raise UsageError(f"{path}: is a folder; name a file with `output`")
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"{path}: is a link or no plain file; name another file with `output`")
        try:
            with path.open("rb") as source:
                begins = source.read(1)
        except OSError as error:  # without a name where reading fails, not opening
            error.filename = str(path)
            raise
        if begins not in (b"", b"{", b"["):
            raise UsageError(f"{path}: exists and is not JSON, so it is not replaced; name another file with `output`")
    bundle = bundle_around(path.absolute().parent)
    if bundle is not None:
        raise UsageError(f"{path}: is inside the bundle {bundle}; name a file outside with `output`")
    files.check_file(path)


def bundle_around(folder: Path) -> Path | None:
    """The bundle that an absolute path of a folder is, or is in; None if there is none."""
    return next((above for above in (folder, *folder.parents) if (above / "bundle.json").is_file()), None)


def check_outside_bundles(path: Path, option: str = "output") -> None:
    """Check that a file or folder does not lie in a bundle, whose files are listed: it could not be signed any more.

    Raises:
        UsageError: it does; the message names the option.
    """
    bundle = bundle_around(path.resolve())
    if bundle is not None:
        raise UsageError(f"{path}: is inside the bundle {bundle}; name another place with `{option}`")


def check_output_folder(path: Path, option: str = "output") -> None:
    """Check that a folder, if it exists, is none that another command made, and in no bundle.

    Raises:
        UsageError: it is; the message names the option.
    """
    for name, kind in _OWN.items():
        if (path / name).is_file():
            raise UsageError(f"{path}: is {kind}; name another folder with `{option}`")
    check_outside_bundles(path, option)
