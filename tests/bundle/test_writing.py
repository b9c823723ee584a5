from __future__ import annotations

from pathlib import Path

import pytest
from bundles import write_graphs, write_small_bundle

from edgemate import files
from edgemate.bundle import Bundle, BundleWriter
from edgemate.errors import BundleError


def test_a_written_bundle_opens_and_lists_every_file(tmp_path: Path) -> None:
    written = write_small_bundle(tmp_path / "deep" / "b")
    opened = Bundle.open(tmp_path / "deep" / "b")
    assert opened.manifest == written.manifest
    on_disk = {path.relative_to(opened.path).as_posix() for path in opened.path.rglob("*") if path.is_file()}
    assert set(opened.manifest.files) == on_disk - {"bundle.json"}
    for name, metadata in opened.manifest.files.items():
        assert metadata.sha256 == files.sha256(opened.path / name)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["b"]


def test_nothing_is_left_without_finish(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "b") as writer:
        assert writer.path.parent == tmp_path
        (writer.path / "half").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_after_an_exception(tmp_path: Path) -> None:
    def interrupted() -> None:
        with BundleWriter(tmp_path / "b") as writer:
            (writer.path / "half").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_was_not_written_is_named(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "b") as writer:
        metadata = write_graphs(writer.path)
        (writer.path / "onnx/prefix_3.onnx").unlink()
        with pytest.raises(BundleError, match=r"'onnx/prefix_3\.onnx' is not in the list of files"):
            writer.finish(metadata)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_bundle_is_kept_without_overwrite(own_bundle: Path) -> None:
    with pytest.raises(BundleError, match="already holds a bundle; `overwrite`"):
        BundleWriter(own_bundle).__enter__()
    Bundle.open(own_bundle)


def test_an_existing_bundle_is_replaced_whole(own_bundle: Path) -> None:
    (own_bundle / "extra").write_text("old")
    with BundleWriter(own_bundle, overwrite=True) as writer:
        writer.finish(write_graphs(writer.path).model_copy(update={"name": "new"}))
    assert Bundle.open(own_bundle).manifest.name == "new"
    assert not (own_bundle / "extra").exists()
    assert [path.name for path in own_bundle.parent.iterdir()] == ["own"]


def test_the_old_bundle_stays_when_the_new_one_fails(own_bundle: Path) -> None:
    with pytest.raises(ZeroDivisionError), BundleWriter(own_bundle, overwrite=True):
        raise ZeroDivisionError
    assert Bundle.open(own_bundle).manifest.name == "small"


def test_a_folder_that_is_not_a_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(BundleError, match="exists and is not a bundle"):
        BundleWriter(tmp_path, overwrite=True).__enter__()
    assert (tmp_path / "precious").read_text() == "x"
