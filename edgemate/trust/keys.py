"""Keys in PEM files: Ed25519, and ECDSA on P-256, P-384 and P-521, which other tools of the same format use."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from edgemate.errors import UsageError
from edgemate.named_files import open_named

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

    PrivateKey: TypeAlias = Ed25519PrivateKey | EllipticCurvePrivateKey
    PublicKey: TypeAlias = Ed25519PublicKey | EllipticCurvePublicKey

PASSWORD = "EDGEMATE_KEY_PASSWORD"
"""The environment variable that has the password of an encrypted private key."""
_MOST_BYTES = 1 << 20
_BEGIN, _END = b"-----BEGIN PUBLIC KEY-----", b"-----END PUBLIC KEY-----"
_CURVES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
_KINDS = "Ed25519, or ECDSA on P-256, P-384 or P-521"


def write_key_pair(private: Path, public: Path) -> str:
    """Make an Ed25519 key pair, as PEM files; the private one can be read by its owner only.

    Returns:
        The identifier of the public key.

    Raises:
        UsageError: one of the files exists.
        OSError: one cannot be written.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if private.absolute() == public.absolute():
        raise UsageError(f"{private}: name two files, one for each key")
    for path in (private, public):
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path}: exists; a key is never overwritten")
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    made: list[Path] = []
    try:
        for path, content, mode in ((private, secret, 0o600), (public, _pem(key.public_key()), 0o644)):
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as target:
                made.append(path)
                target.write(content)
    except BaseException:  # one without the other would be in the way of the next attempt
        for path in made:
            path.unlink(missing_ok=True)
        raise
    return key_id(key.public_key())


def read_private_key(path: Path) -> PrivateKey:
    """The private key in a PEM file; of an encrypted one with the password in $EDGEMATE_KEY_PASSWORD.

    Raises:
        UsageError: it cannot be read, needs a password, or is of another kind.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    password, content = os.environ.get(PASSWORD), _read(path)
    try:
        key = load_pem_private_key(content, os.fsencode(password) if password else None)
    except TypeError as error:  # a password is missing, or there is one too many
        raise UsageError(f"{path}: {error}; {PASSWORD} holds the password of a key") from error
    except Exception as error:  # ValueError, and exceptions of its own without a common base
        raise UsageError(f"{path}: is no private key in PEM that can be read: {_one_line(error)}") from error
    if isinstance(key, Ed25519PrivateKey):
        return key
    if isinstance(key, EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return key
    raise UsageError(f"{path}: is a key of another kind than {_KINDS}")


def read_trusted_keys(path: Path) -> dict[str, PublicKey]:
    """The public keys in a PEM file, or in all files of a folder that end in .pem or .pub: identifier → key.

    Raises:
        UsageError: there is none, or a file has something else.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in (".pem", ".pub") and file.is_file())
    else:
        files = [path]
    found = {key_id(key): key for file in files for key in _public_keys(file)}
    if not found:
        raise UsageError(f"{path}: has no public key; a trusted key is a PEM file that ends in .pem or .pub")
    return found


def key_id(key: PublicKey) -> str:
    """The identifier of a public key: the SHA-256 of its PEM, in hexadecimal."""
    return hashlib.sha256(_pem(key)).hexdigest()


def sign(key: PrivateKey, message: bytes) -> bytes:
    """The signature of a message."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey

    if isinstance(key, EllipticCurvePrivateKey):
        return key.sign(message, ECDSA(_hash(key.curve.name)))
    return key.sign(message)


def is_signed(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether a signature of a message is that of a key."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey

    try:
        if isinstance(key, EllipticCurvePublicKey):
            key.verify(signature, message, ECDSA(_hash(key.curve.name)))
        else:
            key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _public_keys(path: Path) -> list[PublicKey]:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    content = _read(path)
    found: list[PublicKey] = []
    for part in content.split(_BEGIN)[1:]:
        try:
            key = load_pem_public_key(_BEGIN + part.partition(_END)[0] + _END + b"\n")
        except Exception as error:  # as above
            raise UsageError(f"{path}: has a public key that cannot be read: {_one_line(error)}") from error
        if isinstance(key, Ed25519PublicKey) or (isinstance(key, EllipticCurvePublicKey) and key.curve.name in _CURVES):
            found.append(key)
        else:
            raise UsageError(f"{path}: has a public key of another kind than {_KINDS}")
    if not found:
        raise UsageError(f"{path}: has no public key in PEM (BEGIN PUBLIC KEY)")
    return found


def _hash(curve: str) -> HashAlgorithm:
    from cryptography.hazmat.primitives import hashes

    found: HashAlgorithm = getattr(hashes, _CURVES[curve])()
    return found


def _pem(key: PublicKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _read(path: Path) -> bytes:
    try:
        with open_named(path) as source:
            content = source.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(content) > _MOST_BYTES:
        raise UsageError(f"{path}: is too large for a key")
    return content


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
