from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgemate import files
from edgemate.bundle import Bundle
from edgemate.errors import BundleError

WEIGHTS = "onnx/segment_2.onnx"


def edit_manifest(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(manifest | changes))


def listed(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "bundle.json").read_text())["files"]
    return found


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(BundleError) as caught:
        Bundle.open(folder, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_an_untouched_bundle_opens(small_bundle: Bundle) -> None:
    opened = Bundle.open(small_bundle.path)
    assert opened.manifest == small_bundle.manifest
    assert opened.file(WEIGHTS).is_file()
    assert opened.has("policies.json")
    assert not opened.has("bundle.json")


def test_no_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none").endswith("none: no such bundle folder")


def test_a_folder_that_is_not_a_bundle(tmp_path: Path) -> None:
    assert "not a bundle: it has no bundle.json" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"", b"[" * 100_000])
def test_a_manifest_that_is_not_json(own_bundle: Path, content: bytes) -> None:
    (own_bundle / "bundle.json").write_bytes(content)
    assert "bundle.json: not valid JSON" in refusal(own_bundle)


@pytest.mark.parametrize("content", ["3", "[]", "null", '{"format_version": 2}', '{"format_version": "x"}'])
def test_a_manifest_that_is_something_else(own_bundle: Path, content: str) -> None:
    (own_bundle / "bundle.json").write_text(content)
    assert "bundle.json: " in refusal(own_bundle)


def test_the_first_offending_key_is_named(own_bundle: Path) -> None:
    edit_manifest(own_bundle, classes=["a", 3])
    assert "bundle.json: classes.1: Input should be a valid string" in refusal(own_bundle)


def test_a_newer_format_is_named_before_anything_else_is_looked_at(own_bundle: Path) -> None:
    edit_manifest(own_bundle, format_version=3, classes=3)
    assert refusal(own_bundle).endswith(
        "bundle.json: was written by a newer edgemate (format 3); this one reads format 2: upgrade edgemate"
    )


def test_an_older_format_is_named_with_what_to_do(own_bundle: Path) -> None:
    edit_manifest(own_bundle, format_version=1, classes=3)
    assert refusal(own_bundle).endswith(
        "bundle.json: was written by an older edgemate (format 1); this one reads format 2: export the run again"
    )


@pytest.mark.parametrize("path", ["../secret", "/etc/hostname", "onnx/../../secret", "..\\secret", "C:/secret"])
def test_a_listed_path_that_leaves_the_bundle(own_bundle: Path, path: str) -> None:
    (own_bundle.parent / "secret").write_text("x")
    edit_manifest(own_bundle, files=listed(own_bundle) | {path: {"sha256": "0" * 64, "bytes": 1}})
    assert f"files.{path}: " in refusal(own_bundle, verify=False)


def test_a_symbolic_link_that_leaves_the_bundle(own_bundle: Path) -> None:
    outside = own_bundle.parent / "outside.onnx"
    (own_bundle / WEIGHTS).rename(outside)
    (own_bundle / WEIGHTS).symlink_to(outside)
    assert f"{WEIGHTS}: is a link, and links are not followed" in refusal(own_bundle, verify=False)


def test_a_linked_folder_that_leaves_the_bundle(own_bundle: Path) -> None:
    (own_bundle / "onnx").rename(own_bundle.parent / "elsewhere")
    (own_bundle / "onnx").symlink_to(own_bundle.parent / "elsewhere")
    assert "onnx: is a link, and links are not followed" in refusal(own_bundle, verify=False)


def test_a_bundle_reached_by_a_link_opens(own_bundle: Path) -> None:
    link = own_bundle.parent / "link"
    link.symlink_to(own_bundle)
    Bundle.open(link)


def test_a_missing_file_is_named(own_bundle: Path) -> None:
    (own_bundle / WEIGHTS).unlink()
    assert f"{WEIGHTS}: listed in bundle.json but missing" in refusal(own_bundle)


@pytest.mark.parametrize("where", [0, 200, -1])
def test_one_flipped_byte_is_found(own_bundle: Path, where: int) -> None:
    content = bytearray((own_bundle / WEIGHTS).read_bytes())
    content[where] ^= 1
    (own_bundle / WEIGHTS).write_bytes(content)
    assert f"{WEIGHTS}: was changed after it was written" in refusal(own_bundle)


def test_a_truncated_file_is_found(own_bundle: Path) -> None:
    (own_bundle / WEIGHTS).write_bytes((own_bundle / WEIGHTS).read_bytes()[:-1])
    assert f"{WEIGHTS}: has " in refusal(own_bundle)


def test_contents_are_not_read_when_that_is_not_wanted(own_bundle: Path) -> None:
    (own_bundle / WEIGHTS).write_bytes(b"other")
    Bundle.open(own_bundle, verify=False)


def test_only_listed_files_are_given(small_bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"'bundle\.json' is not in the bundle's list of files"):
        small_bundle.file("bundle.json")


def test_golden_samples(small_bundle: Bundle) -> None:
    golden = small_bundle.golden()
    assert golden.images.shape == (24, 3, 8, 8)
    assert golden.logits.shape == (24, 3, 4)
    assert golden.labels.dtype == np.int64


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({}, "images must be float32 (0, 3, 8, 8), not nothing"),
        ({"images": np.zeros((2, 3, 8, 8)), "labels": np.zeros(2, np.int64)}, "not float64 (2, 3, 8, 8)"),
        (
            {"images": np.zeros((2, 3, 8, 8), np.float32), "labels": np.zeros(2, np.int64)},
            "logits must be float32 (2, 3, 4)",
        ),
    ],
)
def test_golden_samples_of_another_shape(own_bundle: Path, arrays: dict[str, Any], problem: str) -> None:
    files.write_arrays(own_bundle / "golden.npz", arrays)
    with pytest.raises(BundleError) as caught:
        Bundle.open(own_bundle, verify=False).golden()
    assert problem in str(caught.value)


@pytest.mark.parametrize("keep", [0, 10, 1000])
def test_golden_samples_that_are_cut_short(own_bundle: Path, keep: int) -> None:
    (own_bundle / "golden.npz").write_bytes((own_bundle / "golden.npz").read_bytes()[:keep])
    with pytest.raises(BundleError, match=r"golden\.npz: cannot be read"):
        Bundle.open(own_bundle, verify=False).golden()
