"""Bundles that go from hand to hand: signed, verified, packed into one file and unpacked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgemate.api.opening import BundleLike, PathLike


@dataclass(frozen=True)
class SignedBundle:
    """A bundle and its signature.

    Attributes:
        bundle: its folder.
        signer: identifier of the key, the SHA-256 of the public key's PEM.
        files: path → SHA-256 of every file that is signed.
    """

    bundle: Path
    signer: str
    files: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {"bundle": str(self.bundle), "signer": self.signer, "files": self.files}


def make_keys(private: PathLike, public: PathLike) -> str:
    """Make a pair of Ed25519 keys to sign bundles with.

    Args:
        private: file for the private key, PEM, which its owner alone can read. Not encrypted.
        public: file for the public key, PEM, which is to be trusted.

    Returns:
        The identifier of the public key.

    Raises:
        UsageError: one of the files exists.

    Example:
        >>> identifier = edgemate.api.make_keys("keys/mine.pem", "keys/mine.pub")
    """
    from edgemate.trust.keys import write_key_pair

    return write_key_pair(Path(private), Path(public))


def sign_bundle(bundle: BundleLike, key: PathLike, *, trust_engines: bool = False) -> SignedBundle:
    """Sign every file of a bundle, and write the signature into it. An earlier signature is replaced.

    Args:
        bundle: a bundle's folder, whose hashes are checked, or a Bundle.
        key: file of a private key in PEM, Ed25519 or ECDSA; $EDGEMATE_KEY_PASSWORD has its password if it is encrypted.
        trust_engines: sign engines that another machine built. Whoever trusts the key will run them.

    Returns:
        What was signed.

    Raises:
        BundleError: the bundle is damaged, or has a file that is not its own, or an engine that nothing vouches for.
        UsageError: the key cannot be read.

    Example:
        >>> signed = edgemate.api.sign_bundle("bundles/digits", "keys/mine.pem")  # doctest: +SKIP
    """
    from edgemate.api.opening import open_bundle
    from edgemate.bundle.signing import sign_bundle as sign

    opened = open_bundle(bundle, trust_engines=trust_engines)
    found = sign(opened, Path(key))
    return SignedBundle(opened.path, found.signer, found.files)


def verify_bundle(bundle: PathLike, trusted_keys: PathLike) -> SignedBundle:
    """Check that everything in a bundle's folder is signed by a trusted key, or was made here by this machine.

    Args:
        bundle: a bundle's folder.
        trusted_keys: a file of public keys in PEM, or a folder of files that end in .pem or .pub.

    Returns:
        Who signed it, and what.

    Raises:
        BundleError: a file is missing, was changed or is not signed, which the message names; or no key signed it.
        UsageError: the keys cannot be read.

    Example:
        >>> edgemate.api.verify_bundle("bundles/digits", "keys").signer  # doctest: +SKIP
    """
    from edgemate.bundle import Bundle

    opened = Bundle.open(Path(bundle), trusted_keys=Path(trusted_keys))
    return SignedBundle(opened.path, opened.trust.signer or "", dict(opened.trust.signed))


def pack_bundle(bundle: BundleLike, target: PathLike) -> Path:
    """Write a bundle to one file: an uncompressed tar, the same bytes for the same bundle.

    Args:
        bundle: a bundle's folder, whose hashes are checked, or a Bundle.
        target: the file; it must not exist.

    Returns:
        The file.

    Raises:
        BundleError: the bundle is damaged or has a file that is not its own, or the target exists.

    Example:
        >>> edgemate.api.pack_bundle("bundles/digits", "digits.tar")  # doctest: +SKIP
    """
    from edgemate.api.opening import open_bundle
    from edgemate.bundle.packing import pack_bundle as pack

    pack(open_bundle(bundle), Path(target))
    return Path(target)


def unpack_bundle(source: PathLike, target: PathLike, *, trusted_keys: PathLike | None = None) -> Path:
    """Write the bundle in a packed file to a folder, and check it before the folder takes its place.

    Args:
        source: the file.
        target: the folder; it must not exist.
        trusted_keys: a file or folder of public keys; the bundle must be signed by one of them.

    Returns:
        The folder.

    Raises:
        BundleError: the target exists; or the file is no packed bundle, holds what is not allowed in one, is too large,
            or has a damaged bundle in it.
        UsageError: the keys cannot be read.

    Example:
        >>> edgemate.api.unpack_bundle("digits.tar", "bundles/digits", trusted_keys="keys")  # doctest: +SKIP
    """
    from edgemate.bundle.packing import unpack_bundle as unpack

    keys = None if trusted_keys is None else Path(trusted_keys)
    return unpack(Path(source), Path(target), trusted_keys=keys).path
