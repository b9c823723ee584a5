"""A folder that the tool `model_signing` 1.1 signed with an ECDSA key is verified here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgemate.errors import BundleError
from edgemate.trust import GuardedFolder
from edgemate.trust.verifying import verify_folder

pytest.importorskip("cryptography")
HERE = Path(__file__).parent


@pytest.fixture
def folder(tmp_path: Path) -> GuardedFolder:
    return GuardedFolder(Path(shutil.copytree(HERE / "signed_by_model_signing", tmp_path / "model")))


def test_it_is_verified(folder: GuardedFolder) -> None:
    trust = verify_folder(folder, HERE / "model_signing.pub", folder.read("bundle.json"))
    assert set(trust.signed) == {"bundle.json", "onnx/a.onnx"}
    assert trust.signer is not None


def test_what_was_changed_since_is_named(folder: GuardedFolder) -> None:
    (folder.path / "onnx" / "a.onnx").write_bytes(b"other\n")
    with pytest.raises(BundleError, match=r"a\.onnx: was changed after it was signed"):
        verify_folder(folder, HERE / "model_signing.pub", folder.read("bundle.json"))
    with pytest.raises(BundleError, match=r"bundle\.json: was changed after it was signed"):
        verify_folder(folder, HERE / "model_signing.pub", b"another manifest")


@pytest.mark.parametrize("name", [".gitignore", ".git/config", "README.md"])
def test_what_the_tool_ignores_is_not_ignored_here(folder: GuardedFolder, name: str) -> None:
    (folder.path / name).parent.mkdir(exist_ok=True)
    (folder.path / name).write_text("")
    with pytest.raises(BundleError, match="is not signed; remove it"):
        verify_folder(folder, HERE / "model_signing.pub", folder.read("bundle.json"))
