from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edgemate.data import load_source, named_test_split, portable_options
from edgemate.errors import DataError

DIGITS = tuple("0123456789")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "root").mkdir()
    monkeypatch.setenv("EDGEMATE_DATA", str(tmp_path / "root"))
    return tmp_path / "root"


def test_options_of_the_split_are_portable_and_those_of_the_machine_are_not(root: Path) -> None:
    assert portable_options("digits", {"test_seed": 1}) == {"test_seed": 1}
    assert portable_options("cifar10", {"root": "/here", "download": False}) == {}
    assert portable_options("arrays", {"path": str(root / "own" / "a.npz")}) == {"path": "own/a.npz"}
    assert portable_options("arrays", {"path": "a.npz"}) == {"path": "a.npz"}
    assert portable_options("arrays", {"path": "/elsewhere/a.npz"}) == {"path": "/elsewhere/a.npz"}
    assert portable_options("my_pkg.mod:MyData", {"password": "x"}) is None


def test_the_named_split_is_the_original_one(root: Path) -> None:
    for options in ({}, {"test_seed": 1}, {"test_seed": 1, "test_fraction": 0.5}):
        found = named_test_split("digits", portable_options("digits", options), DIGITS)
        expected = load_source("digits", options).test
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_array_equal(found.array, expected.array)
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (6, 4, 4), dtype=np.uint8), np.array([0, 1, 2, 0, 1, 2])
    np.savez(root / "a.npz", x_train=images, y_train=labels, x_test=images[:4], y_test=labels[:4])
    options = portable_options("arrays", {"path": str(root / "a.npz")})
    assert len(named_test_split("arrays", options, ("0", "1", "2"))) == 4


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
        ("digits", {"seed": 1}, "digits: option seed: Extra inputs"),
        ("digits", {"test_seed": -1}, "digits: option test_seed: Input should be greater"),
        ("arrays", {"path": "nowhere.npz"}, "no such file or folder: nowhere.npz"),
        ("arrays", {}, "arrays: option path: Field required"),
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
