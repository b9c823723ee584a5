"""Signing a bundle, after everything in it was checked."""

from __future__ import annotations

from pathlib import Path

from edgemate.bundle.locking import writing_bundle
from edgemate.bundle.own_files import engine_pairs, own_files
from edgemate.bundle.reading import Bundle
from edgemate.errors import BundleError
from edgemate.trust.signing import Signed, sign_folder


def sign_bundle(bundle: Bundle, key: Path) -> Signed:
    """Sign every file of a bundle, and write `model.sig` into it, in the place of one that is there.

    Whoever trusts the key runs the engines in it. So each must have been built by this machine, unless the bundle was
    opened with `trust_engines`.

    Args:
        bundle: whose hashes were checked.
        key: a file with a private key in PEM.

    Raises:
        BundleError: the folder has a file that is not the bundle's, or an engine that nothing vouches for.
        UsageError: the key cannot be read.
        OSError: the signature cannot be written.
    """
    with writing_bundle(bundle.path):  # a file that changes meanwhile would be signed by half
        names = own_files(bundle)
        for engine, metadata in engine_pairs(names):
            if metadata not in names:
                raise BundleError(f"{bundle.path / engine}: has no metadata beside it; remove it, or build it again")
            hashes = [(name, bundle.folder.sha256(name)[0]) for name in (engine, metadata)]
            if bundle.trust.voucher(*hashes) is None:
                raise BundleError(
                    f"{bundle.path / engine}: is not known to be built by this machine, and a signature "
                    f"vouches for it; build it here (edgemate build {bundle.path}), "
                    "or sign engines of any maker (`trust_engines`)"
                )
        return sign_folder(bundle.folder, key)
