"""The file of a signature: sigstore's model signature, an in-toto statement in a DSSE envelope.

The format is that of OpenSSF Model Signing 1.0: one statement lists every file with its SHA-256, and a key signs the
statement's bytes together with their type. What `model_signing` signs with a key is read here, and what is signed here
with an ECDSA key is read there; Ed25519 keys are an addition of ours to the same envelope.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from edgemate.errors import BundleError
from edgemate.trust.folder import inside
from edgemate.trust.keys import is_signed, key_id, sign
from edgemate.wording import key_path, shortened

if TYPE_CHECKING:
    from edgemate.trust.keys import PrivateKey, PublicKey

MOST_BYTES = 16 << 20
_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE = "https://model_signing/signature/v1.0"


class _Signature(BaseModel):
    sig: str


class _Envelope(BaseModel):
    payload: str
    payload_type: Literal["application/vnd.in-toto+json"] = Field(alias="payloadType")
    signatures: list[_Signature] = Field(min_length=1, max_length=100)


class _Bundle(BaseModel):
    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"] = Field(alias="mediaType")
    envelope: _Envelope = Field(alias="dsseEnvelope")


class _Resource(BaseModel):
    name: str
    algorithm: Literal["sha256"]
    digest: str = Field(pattern="^[0-9a-f]{64}$")


class _Serialization(BaseModel):
    method: Literal["files"]
    hash_type: Literal["sha256"]


class _Predicate(BaseModel):
    serialization: _Serialization
    resources: list[_Resource]


class _Subject(BaseModel):
    digest: dict[str, str]


class _Statement(BaseModel):
    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: list[_Subject] = Field(min_length=1, max_length=1)
    predicate_type: Literal["https://model_signing/signature/v1.0"] = Field(alias="predicateType")
    predicate: _Predicate


def signed_file(name: str, hashes: Mapping[str, str], key: PrivateKey, ignored: str) -> bytes:
    """The content of a signature file.

    Args:
        name: of what is signed, for readers only.
        hashes: path → SHA-256 in hexadecimal of every file.
        key: signs them.
        ignored: path of the signature file itself, which nothing can list.
    """
    resources = [
        {"name": path, "algorithm": "sha256", "digest": found}
        for path, found in sorted(hashes.items(), key=lambda item: item[0].split("/"))
    ]
    statement = {
        "_type": _STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": _root(resources)}}],
        "predicateType": _PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [ignored],
            },
            "resources": resources,
        },
    }
    payload = json.dumps(statement, indent=2, ensure_ascii=True).encode()
    content = {
        "mediaType": _MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": key_id(key.public_key())}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": _PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(sign(key, _encoded(payload))).decode(), "keyid": ""}],
        },
    }
    return (json.dumps(content, indent=2) + "\n").encode()


def verified_hashes(content: bytes, keys: Mapping[str, PublicKey], source: str) -> tuple[str, dict[str, str]]:
    """What one of these keys has signed: its identifier, and path → SHA-256.

    Only the bytes that the signature covers are looked into.

    Args:
        content: of the signature file.
        keys: identifier → key.
        source: of the content, for messages.

    Raises:
        BundleError: it is not such a file, or none of the keys signed it.
    """
    try:
        envelope = _Bundle.model_validate_json(content).envelope
        payload = base64.b64decode(envelope.payload, validate=True)
        signatures = [base64.b64decode(signature.sig, validate=True) for signature in envelope.signatures]
    except ValidationError as error:
        raise BundleError(f"{source}: is no model signature: {_first(error)}") from error
    except (binascii.Error, ValueError) as error:
        raise BundleError(f"{source}: is no model signature: {error}") from error
    message = _encoded(payload)
    signer = next(
        (name for name, key in keys.items() for signature in signatures if is_signed(key, signature, message)), None
    )
    if signer is None:
        raise BundleError(f"{source}: is not signed by any of the keys that are trusted ({len(keys)})")
    try:
        statement = _Statement.model_validate_json(payload)
    except ValidationError as error:
        raise BundleError(f"{source}: what is signed is no list of a model's files: {_first(error)}") from error
    return signer, _checked(statement, source)


def _checked(statement: _Statement, source: str) -> dict[str, str]:
    resources = [resource.model_dump() for resource in statement.predicate.resources]
    if statement.subject[0].digest.get("sha256") != _root(resources):
        raise BundleError(f"{source}: its list of files does not fit its own digest")
    found: dict[str, str] = {}
    for resource in resources:
        name = resource["name"]
        try:
            inside(name)
        except ValueError as error:
            raise BundleError(f"{source}: lists a file outside: {error}") from error
        if name in found:
            raise BundleError(f"{source}: lists {name!r} twice")
        found[name] = resource["digest"]
    return found


def _root(resources: list[dict[str, Any]]) -> str:
    return hashlib.sha256(b"".join(bytes.fromhex(resource["digest"]) for resource in resources)).hexdigest()


def _encoded(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: the bytes that are signed, their type among them."""
    return b"DSSEv1 %d %b %d %b" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(payload), payload)


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    key = key_path(first["loc"])
    return f"{key + ': ' if key else ''}{shortened(first['msg'])}"
