"""Whether everything in a bundle's folder is signed by a key that the user trusts."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgemate.errors import BundleError
from edgemate.trust.envelope import MOST_BYTES, verified_hashes
from edgemate.trust.folder import GuardedFolder
from edgemate.trust.keys import read_trusted_keys
from edgemate.trust.ledger import Ledger
from edgemate.trust.vouching import Trust

SIGNATURE_FILE = "model.sig"
MANIFEST_FILE = "bundle.json"
BUILT = ("engines/", "latency/")
"""What a device adds to a bundle: it needs no signature where this machine made it."""
BEING_BUILT = "engines/."
"""Where engines wait until all are built; nothing is loaded from there."""


def verify_folder(folder: GuardedFolder, trusted_keys: Path, manifest: bytes, *, engines: bool = False) -> Trust:
    """Check every file of a bundle against its signature.

    A file below `engines/` or `latency/` that this machine wrote may lack a signature. Everything else that is in the
    folder must have been signed, whether it would be opened or not.

    Args:
        folder: of the bundle.
        trusted_keys: a file or folder of public keys.
        manifest: the content of bundle.json that will be used.
        engines: see `Trust`.

    Raises:
        BundleError: there is no signature, none of the keys made it, or a file is missing, was changed, or is not
            signed; the message names it.
        UsageError: the keys cannot be read.
    """
    keys = read_trusted_keys(trusted_keys)
    path = folder.path / SIGNATURE_FILE
    try:
        content = folder.read(SIGNATURE_FILE, MOST_BYTES)
    except FileNotFoundError as error:
        raise BundleError(
            f"{folder.path}: is not signed: it has no {SIGNATURE_FILE}; edgemate bundle sign {folder.path} --key KEY"
        ) from error
    signer, signed = verified_hashes(content, keys, str(path))
    if signed.get(MANIFEST_FILE) != hashlib.sha256(manifest).hexdigest():
        raise BundleError(f"{folder.path / MANIFEST_FILE}: was changed after it was signed; sign the bundle again")
    there = [name for name in folder.walk() if name != SIGNATURE_FILE]
    missing = sorted(name for name in signed.keys() - set(there) if not name.startswith(BUILT))
    if missing:
        raise BundleError(f"{folder.path / missing[0]}: is missing, and was signed; copy the bundle again")
    found = {name: folder.sha256(name)[0] for name in there}
    for name in there:
        if found[name] == signed.get(name) or _made_here(name, found):
            continue
        if name in signed:
            raise BundleError(f"{folder.path / name}: was changed after it was signed; sign the bundle again")
        if not name.startswith(BEING_BUILT):
            raise BundleError(f"{folder.path / name}: is not signed; remove it, or sign the bundle again")
    return Trust(engines=engines, signed=signed, signer=signer)


def _made_here(name: str, found: dict[str, str]) -> bool:
    """Whether this machine wrote the file: an engine and its metadata are recorded as a pair, a table by itself."""
    if not name.startswith(BUILT):
        return False
    ledger = Ledger.of_this_user()
    if name.startswith("latency/"):
        return ledger.knows(found[name])
    engine = name.removesuffix(".json")
    beside = engine + ".json"
    return engine in found and beside in found and ledger.knows(found[engine], found[beside])
