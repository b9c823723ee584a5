from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edgemate.config.options import part_options
from edgemate.core.split_options import allowed_options, is_nameable
from edgemate.data import load_source, named_test_split, portable_options
from edgemate.errors import DataError
from edgemate.registry import DATASETS

DIGITS = tuple("0123456789")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "root").mkdir()
    monkeypatch.setenv("EDGEMATE_DATA", str(tmp_path / "root"))
    return tmp_path / "root"


def test_options_of_the_split_are_portable_and_those_of_the_machine_are_not(root: Path) -> None:
    assert portable_options("digits", {"test_seed": 1}) == {"test_seed": 1}
    assert portable_options("cifar10", {"root": "/here", "download": False}) == {}
    for own in ("arrays", "image_folder", "image_table"):
        assert portable_options(own, {"path": str(root / "own"), "root": "/elsewhere", "test_seed": 1}) is None
    assert portable_options("my_pkg.mod:MyData", {"password": "x"}) is None


def test_the_named_split_is_the_original_one(root: Path) -> None:
    for options in ({}, {"test_seed": 1}, {"test_seed": 1, "test_fraction": 0.5}):
        found = named_test_split("digits", portable_options("digits", options), DIGITS)
        expected = load_source("digits", options).test
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_array_equal(found.array, expected.array)


def test_no_code_named_by_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planted.py").write_text("raise SystemExit('this ran')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("os:abort", "planted:data", "planted", "edgemate.data.datasets.digits:digits", ""):
        with pytest.raises(DataError, match="is not a registered dataset; only registered datasets are loaded"):
            named_test_split(name, {}, DIGITS)
    assert "planted" not in sys.modules


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("digits", None, "digits: the options of its split are not stored; export the run again"),
        ("digits", {"seed": 1}, "digits: option seed: a bundle may not name it"),
        ("digits", {"test_seed": -1}, "digits: option test_seed: Input should be greater"),
        ("digits", {"root": "/etc"}, "digits: option root: a bundle may not name it"),
        ("cifar10", {"download": True}, "cifar10: option download: a bundle may not name it"),
        ("arrays", {"path": "nowhere.npz"}, "arrays: its images are files of a user's own"),
        ("image_folder", {"path": "/"}, "image_folder: its images are files of a user's own"),
        ("cifar10", {}, "there is no folder"),
    ],
)
def test_an_unavailable_split_is_an_error(
    root: Path, name: str, options: dict[str, object] | None, problem: str
) -> None:
    with pytest.raises(DataError) as caught:
        named_test_split(name, options, DIGITS)
    assert problem in str(caught.value)


def test_another_dataset_of_the_same_name_is_recognized_by_its_classes() -> None:
    with pytest.raises(DataError, match="digits: its classes are 0, 1, 2, 3, 4 … instead of a, b …"):
        named_test_split("digits", {}, ("a", "b"))


def test_a_missing_dataset_makes_no_folder_and_is_not_downloaded(root: Path) -> None:
    root.rmdir()
    for name in ("cifar10", "cifar100", "fashion_mnist", "imagenette", "trashnet"):
        with pytest.raises(DataError):
            named_test_split(name, {}, DIGITS)
    assert not root.exists()


def test_every_option_of_every_dataset_is_allowed_or_refused_on_purpose() -> None:
    """An option that is new is refused by a bundle until it is put into this list or into the other."""
    says_where = {"root", "path", "download"}
    of_own_files = {"arrays", "image_folder", "image_table"}
    for name in DATASETS.names():
        options = set(part_options(DATASETS, name).model_fields)
        allowed = allowed_options(name)
        assert not allowed & says_where
        if name in of_own_files:
            assert not is_nameable(name)
        else:
            assert options - allowed <= says_where
            assert allowed <= options | {"skip_damaged"}
