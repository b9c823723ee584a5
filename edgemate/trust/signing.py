"""Signing a bundle: every file in its folder, by one key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgemate import files
from edgemate.trust.envelope import signed_file
from edgemate.trust.folder import GuardedFolder
from edgemate.trust.keys import key_id, read_private_key
from edgemate.trust.verifying import SIGNATURE_FILE


@dataclass(frozen=True)
class Signed:
    """A signature.

    Attributes:
        path: its file.
        signer: identifier of the key.
        files: path → SHA-256 of what was signed.
    """

    path: Path
    signer: str
    files: dict[str, str]


def sign_folder(folder: GuardedFolder, key: Path) -> Signed:
    """Sign every file of a folder, and write the signature into it.

    Args:
        folder: of a bundle that was checked.
        key: a file with a private key in PEM.

    Raises:
        BundleError: the folder has a link or a special file.
        UsageError: the key cannot be read.
        OSError: the signature cannot be written.
    """
    private = read_private_key(key)
    hashes = {name: folder.sha256(name)[0] for name in folder.walk() if name != SIGNATURE_FILE}
    content = signed_file(folder.path.resolve().name, hashes, private, SIGNATURE_FILE)
    files.write_bytes(folder.place(SIGNATURE_FILE), content)
    return Signed(folder.path / SIGNATURE_FILE, key_id(private.public_key()), hashes)
