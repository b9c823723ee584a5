from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from edgemate.api.profile_report import check_page
from edgemate.api.profiling import check_profile
from edgemate.bundle import BundleWriter
from edgemate.errors import BundleError, UsageError
from edgemate.output_place import check_output_file, check_output_folder, check_outside_bundles


def refusal(path: Path) -> str:
    before = os.lstat(path) if os.path.lexists(path) else None
    with pytest.raises(UsageError) as caught:
        check_output_file(path)
    assert before is None or os.lstat(path).st_ino == before.st_ino
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_json_file_may_be_new_or_replaced(tmp_path: Path) -> None:
    check_output_file(tmp_path / "new" / "result.json")
    for content in ("", '{"a": 1}', "[1]"):
        (tmp_path / "there.json").write_text(content)
        check_output_file(tmp_path / "there.json")
    assert [path.name for path in tmp_path.iterdir()] == ["there.json"]


def test_nothing_else_is_replaced(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("-----BEGIN PRIVATE KEY-----")
    assert "is not JSON" in refusal(key)
    (tmp_path / "link").symlink_to(key)
    assert "is a link" in refusal(tmp_path / "link")
    (tmp_path / "broken").symlink_to(tmp_path / "nothing")
    assert "is a link" in refusal(tmp_path / "broken")
    assert "is a folder" in refusal(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "fifo")
        assert "no plain file" in refusal(tmp_path / "fifo")
    assert "no plain file" in refusal(Path(os.devnull))


def test_a_bundle_is_no_place_for_it(own_bundle: Path) -> None:
    assert "is inside the bundle" in refusal(own_bundle / "bundle.json")
    assert "is inside the bundle" in refusal(own_bundle / "latency" / "new.json")


def test_a_folder_of_another_command_is_refused(own_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a bundle; name another folder"):
        check_output_folder(own_bundle)
    (tmp_path / "recipe.yaml").write_text("")
    with pytest.raises(UsageError, match="is a run"):
        check_output_folder(tmp_path)
    check_output_folder(tmp_path / "new")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs /proc")
def test_what_cannot_be_read_is_named() -> None:
    with pytest.raises(OSError, match=r"Input/output error: '/proc/self/mem'"):
        check_output_file(Path("/proc/self/mem"))


def test_no_command_writes_into_a_bundle(own_bundle: Path, tmp_path: Path) -> None:
    """It could not be signed or packed any more."""
    (tmp_path / "link").symlink_to(own_bundle)
    for place in (own_bundle, own_bundle / "onnx", own_bundle / "new" / "deep", tmp_path / "link" / "new"):
        with pytest.raises(UsageError, match=r"is inside the bundle .*; name another place with `output`"):
            check_outside_bundles(place)
        with pytest.raises(UsageError, match=r"is inside the bundle|is a bundle"):
            check_output_folder(place)
        with pytest.raises(UsageError, match="is inside the bundle"):
            check_profile(own_bundle, output=place)
        with pytest.raises(UsageError, match=r"is inside the bundle .* with `html`"):
            check_page(place / "page.html")
        with pytest.raises(BundleError, match="is inside the bundle"):
            BundleWriter(place / "other").check()
    check_outside_bundles(tmp_path / "free")
    check_profile(own_bundle, output=tmp_path / "free")


def test_a_page_replaces_an_earlier_one_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "all.html"
    for name, content in (("all.html", "<html>"), ("all.json", '{"points": []}'), ("all.csv", "name\n")):
        (tmp_path / name).write_text(content)
    check_page(page)
    for kind, content in (
        ("json", '{"points": [], "run": "a"}'),
        ("json", "{"),
        ("csv", "a,b\n"),
        ("png", ""),
        ("svg", ""),
    ):
        place = tmp_path / kind
        place.mkdir(exist_ok=True)
        (place / f"mine.{kind}").write_text(content)
        with pytest.raises(
            UsageError, match=rf"would replace {re.escape(str(place / f'mine.{kind}'))}; give it another"
        ):
            check_page(place / "mine.html")
        assert (place / f"mine.{kind}").read_text() == content
    for made in ("recipe.yaml", "comparison.json"):
        (tmp_path / made).write_text("{}")
        with pytest.raises(UsageError, match=r"is a .*; name another folder with `html`"):
            check_page(page)
        (tmp_path / made).unlink()


def test_the_curves_of_a_page_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "all.json").write_text('{"points": []}')
    (tmp_path / "all.svg").mkdir()
    with pytest.raises(IsADirectoryError):
        check_page(tmp_path / "all.html")
