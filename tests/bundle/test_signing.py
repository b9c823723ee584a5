from __future__ import annotations

import base64
import hashlib
import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from built_here import record_as_built
from commands import invoke
from typer.testing import CliRunner

from edgemate import api
from edgemate.bundle import Bundle
from edgemate.cli.bundle import bundle as commands
from edgemate.cli.calibrate import calibrate
from edgemate.cli.inspect import inspect
from edgemate.errors import BundleError, UsageError
from edgemate.runtime import AnytimeClassifier

pytest.importorskip("cryptography")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with mine.pem, mine.pub and other.pem, and a folder `trusted` with mine.pub."""
    folder = tmp_path / "keys"
    (folder / "trusted").mkdir(parents=True)
    api.make_keys(folder / "mine.pem", folder / "trusted" / "mine.pub")
    api.make_keys(folder / "other.pem", folder / "other.pub")
    return folder


@pytest.fixture
def signed(own_bundle: Path, keys: Path) -> Path:
    api.sign_bundle(own_bundle, keys / "mine.pem")
    return own_bundle


def refusal(bundle: Path, trusted: Path) -> str:
    with pytest.raises(BundleError) as caught:
        Bundle.open(bundle, trusted_keys=trusted)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_signed_bundle_opens_with_the_key_and_without(signed: Path, keys: Path) -> None:
    opened = Bundle.open(signed, trusted_keys=keys / "trusted")
    assert opened.trust.signer == api.verify_bundle(signed, keys / "trusted" / "mine.pub").signer
    there = {path.relative_to(signed).as_posix() for path in signed.rglob("*") if path.is_file()}
    assert set(opened.trust.signed) == there - {"model.sig"}
    assert Bundle.open(signed).trust.signed == {}
    pytest.importorskip("onnxruntime")
    AnytimeClassifier.load(signed, trusted_keys=keys / "trusted", threads=1).close()


def test_every_file_that_is_changed_is_named(signed: Path, keys: Path) -> None:
    for path in sorted(path for path in signed.rglob("*") if path.is_file() and path.name != "model.sig"):
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        said = refusal(signed, keys / "trusted")
        assert said.startswith(f"{path}: was changed after it was signed")
        path.unlink()
        assert str(path) in refusal(signed, keys / "trusted") or path.name == "bundle.json"
        path.write_bytes(content)
    Bundle.open(signed, trusted_keys=keys / "trusted")


@pytest.mark.parametrize(
    "name", ["extra.txt", "onnx/extra.onnx", "latency/orin.json", "engines/x_trt10/segment_1.engine", ".hidden"]
)
def test_a_file_that_was_not_signed_is_named(signed: Path, keys: Path, name: str) -> None:
    (signed / name).parent.mkdir(parents=True, exist_ok=True)
    (signed / name).write_bytes(b"x")
    assert refusal(signed, keys / "trusted") == (f"{signed / name}: is not signed; remove it, or sign the bundle again")


def test_what_this_machine_adds_needs_no_signature(signed: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines that were built here, and times that were measured here."""
    from edgemate.latency_tables import QUANTILES, LatencyTable, StopTimes, write_latency_table

    engine = signed / "engines" / "orin_trt10" / "segment_1.engine"
    engine.parent.mkdir(parents=True)
    engine.write_bytes(b"plan")
    engine.with_name("segment_1.engine.json").write_text("{}")
    record_as_built(signed)
    opened = Bundle.open(signed, trusted_keys=keys / "trusted")
    times = tuple(
        StopTimes(exit=exit, mean_ms=1.0, quantiles_ms=(1.0,) * len(QUANTILES), segment_p99_ms=1.0)
        for exit in (1, 2, 3)
    )
    write_latency_table(opened, LatencyTable(device="orin", machine={}, backend={}, repeats=1, exits=times))
    Bundle.open(signed, trusted_keys=keys / "trusted")
    monkeypatch.setenv("EDGEMATE_TRUST", str(keys / "elsewhere"))
    assert "is not signed" in refusal(signed, keys / "trusted")


def test_another_key_is_refused(signed: Path, keys: Path) -> None:
    assert refusal(signed, keys / "other.pub").endswith("is not signed by any of the keys that are trusted (1)")
    both = keys / "both.pem"
    both.write_bytes((keys / "other.pub").read_bytes() + (keys / "trusted" / "mine.pub").read_bytes())
    Bundle.open(signed, trusted_keys=both)


def test_an_unsigned_bundle_is_refused_where_keys_are_given(own_bundle: Path, keys: Path) -> None:
    assert "is not signed: it has no model.sig; edgemate bundle sign" in refusal(own_bundle, keys / "trusted")


def envelope(bundle: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bundle / "model.sig").read_text())
    return found


def edit_statement(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = envelope(bundle)
    statement = json.loads(base64.b64decode(content["dsseEnvelope"]["payload"]))
    change(statement)
    content["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    (bundle / "model.sig").write_text(json.dumps(content))


def test_a_statement_that_was_changed_is_not_signed(signed: Path, keys: Path) -> None:
    edit_statement(signed, lambda statement: statement["predicate"]["resources"].pop())
    assert "is not signed by any of the keys" in refusal(signed, keys / "trusted")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff", b'{"mediaType": 3}', b"[" * 100_000, b'{"mediaType": "x", "dsseEnvelope": {}}'],
)
def test_what_is_no_signature_is_one_line(signed: Path, keys: Path, content: bytes) -> None:
    (signed / "model.sig").write_bytes(content)
    said = refusal(signed, keys / "trusted")
    assert "model.sig: is no model signature: " in said
    assert ": :" not in said


@pytest.mark.parametrize(
    ("field", "value"),
    [("payloadType", "application/json"), ("signatures", []), ("payload", "%"), ("signatures", [{"sig": "!"}])],
)
def test_another_envelope_is_refused(signed: Path, keys: Path, field: str, value: object) -> None:
    content = envelope(signed)
    content["dsseEnvelope"][field] = value
    (signed / "model.sig").write_text(json.dumps(content))
    assert "model.sig: is no model signature" in refusal(signed, keys / "trusted")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: one.update(predicateType="https://example.org/other"), "is no list of a model's files"),
        (lambda one: one["predicate"]["resources"].reverse(), "does not fit its own digest"),
        (lambda one: one["predicate"]["resources"][0].update(name="../x"), "lists a file outside"),
        (
            lambda one: one["predicate"]["resources"][0].update(name=one["predicate"]["resources"][1]["name"]),
            "twice",
        ),
    ],
)
def test_a_list_that_a_trusted_key_signed_is_checked_too(
    signed: Path, keys: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    from edgemate.trust import envelope as module
    from edgemate.trust.keys import read_private_key, sign

    edit_statement(signed, change)
    content = envelope(signed)
    payload = base64.b64decode(content["dsseEnvelope"]["payload"])
    signature = sign(read_private_key(keys / "mine.pem"), module._encoded(payload))
    content["dsseEnvelope"]["signatures"] = [{"sig": base64.b64encode(signature).decode()}]
    (signed / "model.sig").write_text(json.dumps(content))
    assert said in refusal(signed, keys / "trusted")


def test_the_format_is_that_of_openssf_model_signing(signed: Path) -> None:
    content = envelope(signed)
    assert content["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert content["dsseEnvelope"]["payloadType"] == "application/vnd.in-toto+json"
    statement = json.loads(base64.b64decode(content["dsseEnvelope"]["payload"]))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://model_signing/signature/v1.0"
    digests = [resource["digest"] for resource in statement["predicate"]["resources"]]
    root = hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()
    assert statement["subject"] == [{"name": signed.name, "digest": {"sha256": root}}]


@pytest.mark.parametrize("curve", ["SECP256R1", "SECP384R1", "SECP521R1"])
def test_keys_of_other_tools_are_taken(own_bundle: Path, tmp_path: Path, curve: str) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(getattr(ec, curve)())
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    (tmp_path / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pub").write_bytes(public)
    api.sign_bundle(own_bundle, tmp_path / "key.pem")
    assert api.verify_bundle(own_bundle, tmp_path / "key.pub").signer == hashlib.sha256(public).hexdigest()


def test_an_encrypted_key_needs_its_password(own_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    secret = serialization.BestAvailableEncryption(b"open sesame")
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (tmp_path / "key.pem").write_bytes(Ed25519PrivateKey.generate().private_bytes(pem, pkcs8, secret))
    with pytest.raises(UsageError, match="EDGEMATE_KEY_PASSWORD holds the password of a key"):
        api.sign_bundle(own_bundle, tmp_path / "key.pem")
    monkeypatch.setenv("EDGEMATE_KEY_PASSWORD", "open sesame")
    api.sign_bundle(own_bundle, tmp_path / "key.pem")


def test_keys_are_made_for_their_owner_and_never_overwritten(tmp_path: Path) -> None:
    identifier = api.make_keys(tmp_path / "a.pem", tmp_path / "a.pub")
    assert identifier == hashlib.sha256((tmp_path / "a.pub").read_bytes()).hexdigest()
    assert stat.S_IMODE((tmp_path / "a.pem").stat().st_mode) == 0o600
    for private, public in (("a.pem", "b.pub"), ("b.pem", "a.pub")):
        with pytest.raises(UsageError, match=r"a\.p..: exists; a key is never overwritten"):
            api.make_keys(tmp_path / private, tmp_path / public)
    assert not (tmp_path / "b.pem").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.pem", None, "cannot be read: No such file"),
        ("text.pem", b"text", "has no public key in PEM"),
        ("cut.pem", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "public key that cannot be read"),
        ("empty", "folder", "has no public key; a trusted key is a PEM file"),
    ],
)
def test_keys_that_cannot_be_read_are_one_line(
    signed: Path, tmp_path: Path, name: str, content: bytes | str | None, said: str
) -> None:
    if content == "folder":
        (tmp_path / name).mkdir()
    elif isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError) as caught:
        Bundle.open(signed, trusted_keys=tmp_path / name)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_private_key_among_the_trusted_is_an_error(signed: Path, keys: Path) -> None:
    shutil.copy(keys / "mine.pem", keys / "trusted")
    with pytest.raises(UsageError, match=r"mine\.pem: has no public key"):
        Bundle.open(signed, trusted_keys=keys / "trusted")


def test_what_is_not_the_bundles_is_not_signed(own_bundle: Path, keys: Path) -> None:
    (own_bundle / "notes.txt").write_text("")
    with pytest.raises(BundleError, match=r"notes\.txt: is not a file of the bundle; remove it first"):
        api.sign_bundle(own_bundle, keys / "mine.pem")
    (own_bundle / "notes.txt").unlink()
    (own_bundle / "latency").symlink_to(keys)
    with pytest.raises(BundleError, match="latency: is a link"):
        api.sign_bundle(own_bundle, keys / "mine.pem")
    assert not (own_bundle / "model.sig").exists()


def test_calibrating_says_that_the_signature_is_not_valid_any_more(signed: Path, keys: Path) -> None:
    said = invoke(calibrate, signed, "--trusted-keys", keys / "trusted")
    assert said.exit_code == 0, said.output
    assert f"warning: {signed} was signed, and its signature is not valid any more" in said.stdout
    assert f"sign it again: edgemate bundle sign {signed} --key KEY" in said.stdout
    assert "bundle.json: was changed after it was signed" in refusal(signed, keys / "trusted")
    api.sign_bundle(signed, keys / "mine.pem")
    Bundle.open(signed, trusted_keys=keys / "trusted")


def test_commands_that_open_a_bundle_take_the_keys(signed: Path, keys: Path) -> None:
    assert invoke(inspect, signed, "--trusted-keys", keys / "trusted").exit_code == 0
    refused = invoke(inspect, signed, "--trusted-keys", keys / "other.pub")
    assert isinstance(refused.exception, BundleError)


def test_the_commands(own_bundle: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> str:
        result = CliRunner().invoke(commands, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    assert "signs, and who trusts" in run("keygen", tmp_path / "k.pem", tmp_path / "k.pub")
    assert run("sign", own_bundle, "--key", tmp_path / "k.pem").startswith("signed ")
    assert " signed by key " in run("verify", own_bundle, "--trusted-keys", tmp_path / "k.pub")
    found = json.loads(run("verify", own_bundle, "--trusted-keys", tmp_path / "k.pub", "--json"))
    assert "bundle.json" in found["files"]
    run("pack", own_bundle, tmp_path / "b.tar")
    run("unpack", tmp_path / "b.tar", tmp_path / "again", "--trusted-keys", tmp_path / "k.pub")
    assert Bundle.open(tmp_path / "again").manifest == Bundle.open(own_bundle).manifest
