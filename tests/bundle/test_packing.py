from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgemate import api
from edgemate.bundle import Bundle, packing
from edgemate.errors import BundleError
from edgemate.limits import BUNDLE_FILES, JSON_BYTES


@pytest.fixture
def packed(own_bundle: Path, tmp_path: Path) -> Path:
    return api.pack_bundle(own_bundle, tmp_path / "bundle.tar")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(source: Path) -> str:
    before = sorted(path.name for path in source.parent.iterdir())
    with pytest.raises(BundleError) as caught:
        api.unpack_bundle(source, source.parent / "unpacked")
    assert sorted(path.name for path in source.parent.iterdir()) == before, "nothing is left"
    assert "\n" not in str(caught.value)
    return str(caught.value)


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as made:
        for member, content in members:
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    return found


def test_a_bundle_comes_back_as_it_was(own_bundle: Path, packed: Path, tmp_path: Path) -> None:
    before = contents(own_bundle)
    folder = api.unpack_bundle(packed, tmp_path / "deep" / "again")
    assert contents(folder) == before
    Bundle.open(folder)


def test_the_same_bundle_is_the_same_file(own_bundle: Path, packed: Path, tmp_path: Path) -> None:
    for path in own_bundle.rglob("*"):
        path.chmod(0o755)
    assert api.pack_bundle(own_bundle, tmp_path / "other.tar").read_bytes() == packed.read_bytes()


def test_other_tools_read_it(own_bundle: Path, packed: Path) -> None:
    with tarfile.open(packed) as found:
        assert found.getnames() == sorted(contents(own_bundle), key=lambda name: name.split("/"))


@pytest.mark.parametrize(
    "path", ["/etc/evil", "../evil", "onnx/../../evil", "a//b", "./a", "C:/evil", "a\\b", "..", "onnx/.."]
)
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    said = refusal(archive(tmp_path / "a.tar", (member(path), b"x")))
    assert repr(path) in said
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (tarfile.SYMTYPE, "has a link ('onnx')"),
        (tarfile.LNKTYPE, "has a hard link"),
        (tarfile.CHRTYPE, "has a device"),
        (tarfile.BLKTYPE, "has a device"),
        (tarfile.FIFOTYPE, "has a FIFO"),
        (tarfile.DIRTYPE, "has a folder"),
        (tarfile.CONTTYPE, "has something that edgemate does not pack"),
        (tarfile.GNUTYPE_SPARSE, "has something that edgemate does not pack"),
    ],
)
def test_only_plain_files_are_taken(tmp_path: Path, kind: bytes, said: str) -> None:
    assert said in refusal(archive(tmp_path / "a.tar", (member("onnx", kind, "/etc"), b"")))


def test_long_names_and_extended_headers_are_refused(tmp_path: Path) -> None:
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        long = archive(tmp_path / f"{form}.tar", (member("a" * 300), b"x"), form=form)
        assert "has something that edgemate does not pack" in refusal(long)


@pytest.mark.parametrize("names", [("a", "a"), ("a", "a/b"), ("a/b", "a"), ("a/b/c", "a/b")])
def test_the_same_path_twice_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    said = refusal(archive(tmp_path / "a.tar", *((member(name), b"x") for name in names)))
    assert "twice" in said or "as a file and a folder" in said


def test_limits_are_checked_before_anything_is_written(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "_extract", lambda *given: pytest.fail("something was written"))
    monkeypatch.setattr(packing, "BUNDLE_FILES", BUNDLE_FILES._replace(most=3))
    assert refusal(packed).endswith("has more than 3 files, which is the limit")
    monkeypatch.setattr(packing, "BUNDLE_FILES", BUNDLE_FILES)
    monkeypatch.setattr(packing, "MOST_BYTES", 1000)
    assert refusal(packed).endswith("has more than 1 kB, which is the limit")


def test_a_size_beyond_the_file_is_refused(tmp_path: Path) -> None:
    header = member("onnx/a.onnx")
    header.size = 1 << 32
    (tmp_path / "a.tar").write_bytes(header.tobuf(tarfile.USTAR_FORMAT))
    assert "is cut short, in 'onnx/a.onnx'" in refusal(tmp_path / "a.tar")


@pytest.mark.parametrize("keep", [1, 511, 513, 5_000])
def test_a_file_that_is_cut_short_is_refused(packed: Path, keep: int) -> None:
    packed.write_bytes(packed.read_bytes()[:keep])
    refusal(packed)


@pytest.mark.parametrize("content", [b"", b"no archive" * 100, b"\0" * 10_240, b"PK\3\4" * 1000])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    assert "a.tar: " in refusal(tmp_path / "a.tar")


def test_a_damaged_bundle_is_refused_by_the_name_of_its_file(packed: Path) -> None:
    content = bytearray(packed.read_bytes())
    content[600] ^= 1  # in the first file, below its header
    packed.write_bytes(content)
    said = refusal(packed)
    assert said.startswith(str(packed))
    assert ".part" not in said


def test_nothing_is_overwritten(own_bundle: Path, packed: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"bundle\.tar: exists; choose another file"):
        api.pack_bundle(own_bundle, packed)
    (tmp_path / "taken").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for taken in ("taken", "link"):
        with pytest.raises(BundleError, match="exists; choose another folder"):
            api.unpack_bundle(packed, tmp_path / taken)


def test_a_bundle_with_a_link_is_not_packed(own_bundle: Path, tmp_path: Path) -> None:
    (own_bundle / "engines").symlink_to(tmp_path)
    with pytest.raises(BundleError, match="engines: is a link"):
        api.pack_bundle(own_bundle, tmp_path / "bundle.tar")
    assert not (tmp_path / "bundle.tar").exists()


def test_a_bundle_is_not_packed_into_itself(own_bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"onnx/b\.tar: is inside the bundle"):
        api.pack_bundle(own_bundle, own_bundle / "onnx" / "b.tar")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 511), st.integers(0, 255)), min_size=1, max_size=4))
def test_any_changed_header_ends_in_a_bundle_or_one_line(
    packed: Path, tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int, int]]
) -> None:
    """With a checksum that fits, since that is no protection."""
    content = bytearray(packed.read_bytes())
    headers = [0]
    while len(headers) < 5:
        size = int(content[headers[-1] + 124 : headers[-1] + 135], 8)
        headers.append(headers[-1] + 512 + -(-size // 512) * 512)
    for which, place, byte in changes:
        content[headers[which] + place] = byte
        header = content[headers[which] : headers[which] + 512]
        header[148:156] = b" " * 8
        content[headers[which] + 148 : headers[which] + 156] = b"%06o\0 " % sum(header)
    folder = tmp_path_factory.mktemp("fuzzed")
    (folder / "b.tar").write_bytes(content)
    try:
        found = api.unpack_bundle(folder / "b.tar", folder / "out")
    except BundleError as error:
        said = str(error)
    else:
        assert Bundle.open(found)
        return
    assert "\n" not in said
    assert [path.name for path in folder.iterdir()] == ["b.tar"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs")
def test_a_fifo_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert "is no plain file" in refusal(tmp_path / "fifo")


def test_a_manifest_that_is_too_large_is_not_written_first(tmp_path: Path) -> None:
    for name in ("bundle.json", "model.sig"):
        given = archive(tmp_path / f"{name}.tar", (member(name), b""))
        size = tarfile.TarInfo(name)
        size.size = JSON_BYTES.most + 1
        given.write_bytes(size.tobuf(tarfile.USTAR_FORMAT))
        os.truncate(given, 512 * (3 + size.size // 512))
        assert f"its {name} has 16,777,217 bytes; the limit is 16,777,216" in refusal(given)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("longer", "golden.npz: has {size} bytes where {written} were written"),
        ("missing", "golden.npz: listed in bundle.json but missing; pack the bundle again"),
        ("another", "notes.txt: is not a file of the bundle; pack it again"),
        ("manifest damaged", "bundle.json: not valid JSON"),
        ("manifest missing", "is no packed bundle: it has no bundle.json"),
    ],
)
def test_files_are_compared_with_the_manifest_before_one_is_written(
    own_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, said: str
) -> None:
    """Otherwise gigabytes could be written before the first is known to be wrong."""
    files = contents(own_bundle)
    written = len(files["golden.npz"])
    if change == "longer":
        files["golden.npz"] += b"more"
    elif change == "another":
        files["notes.txt"] = b"notes"
    elif change == "manifest damaged":
        files["bundle.json"] = b"{"
    else:
        del files["golden.npz" if change == "missing" else "bundle.json"]
    given = archive(tmp_path / "a.tar", *((member(name), content) for name, content in files.items()))
    monkeypatch.setattr(packing, "_extract", lambda *given: pytest.fail("something was written"))
    assert said.format(size=written + 4, written=written) in refusal(given)


def test_a_bundle_is_not_unpacked_into_another(own_bundle: Path, packed: Path) -> None:
    for place in (own_bundle / "inner", own_bundle / "onnx" / "deep" / "inner"):
        with pytest.raises(BundleError, match="is inside the bundle"):
            api.unpack_bundle(packed, place)
    Bundle.open(own_bundle)
    assert not (own_bundle / "onnx" / "deep").exists()
