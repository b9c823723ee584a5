from pathlib import Path

import numpy as np
import pytest

from edgemate import files


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"x": 1})
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path, {"x": float("nan")})
    with pytest.raises(TypeError):
        files.write_bytes(path, "no bytes")  # type: ignore[arg-type]
    assert path.read_text() == '{\n  "x": 1\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_have_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    files.write_text(tmp_path / "ours", "")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_arrays_come_back_and_pickles_do_not(tmp_path: Path) -> None:
    files.write_arrays(tmp_path / "a.npz", {"x": np.arange(3)})
    assert files.read_arrays(tmp_path / "a.npz")["x"].tolist() == [0, 1, 2]
    np.savez(tmp_path / "b.npz", x=np.array([object()]))
    with pytest.raises(ValueError, match="x: is of dtype object; numbers or text are required"):
        files.read_arrays(tmp_path / "b.npz")


def test_a_place_that_can_be_written_to_is_left_as_it_was(tmp_path: Path) -> None:
    files.check_folder(tmp_path / "deep" / "down")
    files.check_file(tmp_path / "deep" / "a.json")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_named_as_given(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for check, place, error in (
        (files.check_folder, tmp_path / "file", NotADirectoryError),
        (files.check_folder, tmp_path / "file" / "deep", NotADirectoryError),
        (files.check_file, tmp_path / "file" / "a.json", NotADirectoryError),
        (files.check_file, tmp_path, IsADirectoryError),
    ):
        with pytest.raises(error) as caught:
            check(place)
        assert caught.value.filename == str(place)
