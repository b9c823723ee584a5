from __future__ import annotations

import pytest

from edgemate.data.root import data_root, locate
from edgemate.errors import DataError


def test_the_root_is_the_option_then_the_environment_then_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EDGEMATE_DATA", str(tmp_path / "environment"))
    assert data_root(str(tmp_path / "option")) == tmp_path / "option"
    assert data_root(None) == tmp_path / "environment"
    monkeypatch.delenv("EDGEMATE_DATA")
    assert data_root(None) == tmp_path / ".cache/edgemate/data"
    assert data_root("~/own") == tmp_path / "own"


def test_a_path_is_found_here_or_under_the_root(monkeypatch, tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a.npz").touch()
    monkeypatch.setenv("EDGEMATE_DATA", str(tmp_path / "root"))
    monkeypatch.chdir(tmp_path)
    assert locate("a.npz") == tmp_path / "root" / "a.npz"
    assert locate(str(tmp_path / "root")) == tmp_path / "root"
    (tmp_path / "a.npz").touch()
    assert locate("a.npz").resolve() == tmp_path / "a.npz"


@pytest.mark.parametrize("path", ["missing.npz", "/missing/a.npz"])
def test_a_missing_path_is_named_with_what_to_set(monkeypatch, tmp_path, path):
    monkeypatch.setenv("EDGEMATE_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"missing.*data\.options\.path.*EDGEMATE_DATA") as caught:
        locate(path)
    assert "\n" not in str(caught.value)


def test_a_path_that_the_system_refuses_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"data\.options\.path: .* cannot be read \(File name too long\)"):
        locate(str(tmp_path / ("x" * 300)))
