from __future__ import annotations

import csv
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_data import prepare, write_image

from edgemate.config import Data
from edgemate.data import check_data, load_source
from edgemate.data.datasets.image_table import image_table
from edgemate.data.splits import split
from edgemate.errors import DataError

CATS = ["path,label", "cats/1.png,cat", "cats/2.png,cat", "cats/3.png,cat", "dogs/1.png,dog"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for animal in ("cats", "dogs"):
        for i in (1, 2, 3):
            write_image(tmp_path / animal / f"{i}.png", seed=i + 10 * len(animal))
    return tmp_path


def table(folder: Path, *lines: str, name: str = "table.csv", encoding: str = "utf-8") -> str:
    (folder / name).write_text("\n".join(lines) + "\n", encoding=encoding)
    return str(folder / name)


def write_rows(path: Path, header: list[str], rows: list[tuple[Any, ...]]) -> str:
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])
    else:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        columns = {name: [row[k] for row in rows] for k, name in enumerate(header)}
        parquet.write_table(pyarrow.table(columns), path)
    return str(path)


def problem(**options: Any) -> str:
    """The one line that both the early check and loading give."""
    with pytest.raises(DataError) as checked:
        check_data(Data(name="image_table", options=options))
    with pytest.raises(DataError) as loaded:
        load_source("image_table", options)
    assert str(checked.value) == str(loaded.value)
    assert "\n" not in str(checked.value)
    return str(checked.value)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_name_images_labels_and_splits(folder: Path, suffix: str) -> None:
    rows = [
        ("cats/1.png", "cat", "train"),
        ("dogs/1.png", "dog", "TRAIN"),
        ("cats/2.png", "cat", "valid"),
        (str(folder / "dogs" / "2.png"), "dog", "test"),
    ]
    path = write_rows(folder / f"table.{suffix}", ["path", "label", "split"], rows)
    source = image_table(path=path)
    assert source.classes == ("cat", "dog")
    assert source.train.image(0).mode == "RGB"
    splits = split(source, 0.5, 0)
    names = {
        "train": [source.train.paths[i] for i in splits.train],
        "calibration": [source.train.paths[i] for i in splits.calibration],
        "test": [source.test.paths[i] for i in splits.test],
    }
    assert {key: [path.relative_to(folder).as_posix() for path in paths] for key, paths in names.items()} == {
        "train": ["cats/1.png", "dogs/1.png"],
        "calibration": ["cats/2.png"],
        "test": ["dogs/2.png"],
    }
    assert image_table(path=path, channels=1).test.image(0).mode == "L"


labels = st.lists(st.sampled_from("abcd"), min_size=6, max_size=40).filter(
    lambda found: len(set(found)) > 1 and max(map(found.count, found)) >= 3
)


@given(labels=labels, fraction=st.floats(0.05, 0.95), seed=st.integers(0, 99))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_random_test_split_is_complete_disjoint_stratified_and_seeded(
    tmp_path: Path, labels: list[str], fraction: float, seed: int
) -> None:
    for i in range(40):
        (tmp_path / f"{i}.png").touch()  # nothing is decoded
    rows = [(f"{i}.png", label) for i, label in enumerate(labels)]
    path = write_rows(tmp_path / "table.csv", ["path", "label"], rows)
    source, again = (image_table(path=path, test_fraction=fraction, test_seed=seed) for _ in range(2))
    named = [*source.train.paths, *source.test.paths]
    assert sorted(map(str, named)) == sorted(str(tmp_path / name) for name, _ in rows)
    truth = {str(tmp_path / name): label for name, label in rows}
    for images in (source.train, source.test):
        assert [source.classes[k] for k in images.labels] == [truth[str(path)] for path in images.paths]
    assert (source.train.paths, source.test.paths) == (again.train.paths, again.test.paths)
    tested = [source.classes[k] for k in source.test.labels]
    for label in set(labels):
        assert (1 if labels.count(label) > 1 else 0) <= tested.count(label) <= max(labels.count(label) - 1, 0)


@given(names=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="/\\\0\r\n"), min_size=1), max_size=4))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_label_survives_quoting(tmp_path: Path, names: list[str]) -> None:
    for i in range(8):
        (tmp_path / f"{i}.png").touch()
    labels = ["first", "first", "first", "second", *(name.strip() or "blank" for name in names)]
    path = write_rows(tmp_path / "t.csv", ["path", "label"], [(f"{i}.png", label) for i, label in enumerate(labels)])
    expected = {unicodedata.normalize("NFC", label) for label in labels}
    assert set(image_table(path=path).classes) == expected


def test_a_byte_order_mark_quotes_other_delimiters_and_unicode_are_read(folder: Path) -> None:
    odd = write_image(folder / "cats" / "ein, zwei é.png")
    for delimiter in ",;\t":
        lines = [f'"path"{delimiter}label', *(line.replace(",", delimiter) for line in CATS[1:])]
        path = table(folder, *lines, f'"cats/ein, zwei é.png"{delimiter} "Käse ""x"""', "", encoding="utf-8-sig")
        source = image_table(path=path)
        assert source.classes == ('Käse "x"', "cat", "dog")
        assert odd in source.train.paths


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_integer_labels_are_sorted_by_value(folder: Path, suffix: str) -> None:
    rows = [("cats/1.png", 10), ("cats/2.png", 9), ("cats/3.png", 9), ("dogs/1.png", 9), ("dogs/2.png", -1)]
    path = write_rows(folder / f"table.{suffix}", ["path", "label"], rows)
    assert image_table(path=path).classes == ("-1", "9", "10")


def test_columns_and_the_folder_of_the_images_can_be_named(folder: Path) -> None:
    (folder / "tables").mkdir()
    path = table(
        folder / "tables", "a,file,kind,fold", *(f"0,{line},train" for line in CATS[1:]), "0,dogs/2.png,dog,val"
    )
    options = {"path_column": "file", "label_column": "kind", "split_column": "fold", "root": str(folder)}
    source = image_table(path=path, **options)
    assert source.test.paths == [folder / "dogs" / "2.png"]
    assert source.notes == (f"image_table {path} has no test split: val is the test split",)


def test_backslashes_of_windows_separate_folders(folder: Path) -> None:
    path = table(folder, *(line.replace("/", "\\") for line in CATS))
    assert {path.parent.name for path in image_table(path=path).train.paths} == {"cats", "dogs"}


def test_missing_files_are_counted_and_the_first_named_with_its_line(folder: Path) -> None:
    path = table(folder, *CATS, "cats/9.png,cat", "", "nowhere/9.png,dog")
    assert problem(path=path) == (
        f"{path}: 2 of 6 files missing, the first one {folder}/cats/9.png (line 6); correct the paths, or set "
        f"data.options.root to the folder that they are relative to (now {folder})"
    )
    parquet = write_rows(folder / "table.parquet", ["path", "label"], [("cats/1.png", "cat"), ("x.png", "dog")])
    assert "1 of 2 files missing, the first one" in problem(path=parquet)
    assert "x.png (row 1)" in problem(path=parquet)


def wrong_tables(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        "no column 'path', only 'file', 'label'": {"path": table(folder, "file,label", "a,b", name="1.csv")},
        "no column 'fold', only 'path', 'label'": {"path": table(folder, *CATS, name="2.csv"), "split_column": "fold"},
        "did you mean 'labels'?": {"path": table(folder, "path,labels", name="2b.csv")},
        "has no rows; add one per image": {"path": table(folder, "path,label", name="3.csv")},
        "is empty; its first line must name": {"path": table(folder, name="4.csv")},
        "line 3: has 1 values for 2 columns": {"path": table(folder, *CATS[:2], "cats/2.png", name="5.csv")},
        "line 2: the label is missing": {"path": table(folder, "path,label", "cats/1.png,", name="6.csv")},
        "line 2: the path is missing": {"path": table(folder, "path,label", ",cat", name="7.csv")},
        "line 2: the split is 'dev'; use train, val or test": {
            "path": table(folder, "path,label,split", "cats/1.png,cat,dev", name="8.csv")
        },
        "line 6: names": {"path": table(folder, *CATS, "cats/../cats/1.png,dog", name="9.csv")},
        "as line 2 does; name each image once": {"path": table(folder, *CATS, "./cats/1.png,cat", name="10.csv")},
        "has one class only (cat)": {"path": table(folder, *CATS[:4], name="11.csv")},
        "line 3: label 'dog' is in test, but no training row has it": {
            "path": table(folder, "path,label,split", "cats/1.png,cat,train", "dogs/1.png,dog,test", name="13.csv")
        },
        "has no training rows, only test; add rows": {
            "path": table(folder, "path,label,split", "dogs/1.png,dog,test", name="14.csv")
        },
        "is not UTF-8": {"path": table(folder, "path,label", "é.png,x", name="15.csv", encoding="latin-1")},
        "is a folder; a table is a CSV or Parquet file (for folders: data.name=image_folder)": {"path": str(folder)},
        "a table's name must end in one of .csv": {"path": str(write_image(folder / "1.png"))},
        "cannot be read as Parquet": {"path": table(folder, *CATS, name="16.parquet")},
        "no such file or folder: nowhere.csv": {"path": "nowhere.csv"},
        "set data.options.root to one that exists": {"path": table(folder, *CATS, name="17.csv"), "root": "nowhere"},
        "1 of 5 files missing, the first one": {"path": table(folder, *CATS, "x" * 300 + ".png,cat", name="19.csv")},
        "1 of 5 files missing, the first one ": {"path": table(folder, *CATS, "a\0/1.png,cat", name="20.csv")},
        "the column 'path' twice": {"path": table(folder, "path,path,label", "a,b,c", name="18.csv")},
    }  # fmt: skip


def test_every_wrong_table_is_one_line(folder: Path) -> None:
    pytest.importorskip("pyarrow")
    for expected, options in wrong_tables(folder).items():
        found = problem(**options)
        assert expected in found, found


def test_too_few_images_to_train_are_one_line_but_the_test_split_can_be_read(folder: Path) -> None:
    options = {"path": table(folder, *CATS[:3], CATS[4])}
    with pytest.raises(DataError, match="no class has 3 training images, one each for training, calibration and test"):
        check_data(Data(name="image_table", options=options))
    assert len(load_source("image_table", options).test) == 1


def test_labels_of_another_type_are_refused(folder: Path) -> None:
    path = write_rows(folder / "t.parquet", ["path", "label"], [("cats/1.png", 0.5), ("cats/2.png", 1.0)])
    assert "row 0: the label is 0.5; use an integer or a string" in problem(path=path)


def test_a_damaged_parquet_file_is_one_line(folder: Path) -> None:
    path = Path(write_rows(folder / "t.parquet", ["path", "label"], [("cats/1.png", "cat"), ("dogs/1.png", "dog")]))
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"cats/1.png", b"cats/\xff.png"))
    assert f"{path} cannot be read as Parquet ('utf-8' codec can't decode" in problem(path=str(path))


def test_without_pyarrow_a_parquet_table_is_one_clear_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = table(folder, *CATS, name="t.parquet")
    assert "need pyarrow, which is not installed; pip install 'edgemate[parquet]'" in problem(path=path)
    assert len(image_table(path=table(folder, *CATS)).classes) == 2


def test_its_images_are_trained_on_and_damaged_ones_skipped(folder: Path) -> None:
    (folder / "cats" / "2.png").write_text("no image")
    path = table(folder, *CATS, "dogs/2.png,dog", "dogs/3.png,dog")
    with pytest.raises(DataError, match=r"data.skip_damaged=true(.|\n)*2\.png: is not an image"):
        prepare("image_table", options={"path": path}, image_size=8)
    data = prepare("image_table", options={"path": path}, image_size=8, skip_damaged=True)
    assert data.left_out == (folder / "cats" / "2.png",)
    assert next(iter(data.test_loader()))[0].shape[1:] == (3, 8, 8)
