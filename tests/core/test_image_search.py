from __future__ import annotations

from pathlib import Path

from edgemate.core.image_search import class_folders, find_images, kinds_of, walk
from edgemate.runtime.labeled import read_labeled


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_images_are_found_by_suffix_and_hidden_ones_skipped(tmp_path: Path) -> None:
    images = ["a.JPG", "b.png", "deep/er/c.webp", "d e.Tif", "ünï.jpeg"]
    touch(tmp_path, *images, "._a.jpg", ".cache/d.png", "__MACOSX/e.png", "deep/@eaDir/f.jpg", "notes.txt", "Thumbs.db")
    assert [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)] == sorted(images)


def test_what_is_no_image_is_listed_and_ignored_folders_come_as_one(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "._a.jpg", ".DS_Store", "x/Thumbs.db", "__MACOSX/1.png", "__MACOSX/2.png")
    ignored = {path.relative_to(tmp_path).as_posix() for path, image in walk(tmp_path) if not image}
    assert ignored == {"._a.jpg", ".DS_Store", "x/Thumbs.db", "__MACOSX"}


def test_links_are_followed_once_and_broken_ones_reported_as_images(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/a.png", "root/b.png")
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "loop").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "root" / "itself.png").symlink_to(tmp_path / "root" / "itself.png")
    (tmp_path / "root" / "itself").symlink_to(tmp_path / "root" / "itself")
    found = [path.relative_to(tmp_path / "root").as_posix() for path in find_images(tmp_path / "root")]
    assert found == ["b.png", "gone.png", "itself.png", "linked/a.png"]


def test_class_folders_are_sorted_and_those_of_systems_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "b c/1.png", "a/1.png", "__MACOSX/1.png", ".git/1.png", "file.png")
    assert [folder.name for folder in class_folders(tmp_path)] == ["a", "b c"]


def test_kinds_are_counted_by_suffix_most_frequent_first() -> None:
    assert kinds_of(map(Path, ["a.txt", ".DS_Store", "b.txt"])) == "2 × .txt, 1 × .DS_Store"
    assert kinds_of(map(Path, ["._a.jpg", "b.jpg"])) == "1 × .jpg, 1 × hidden .jpg"
    assert kinds_of(Path(f"a.{k}") for k in range(8)).endswith(", 3 others")


def test_class_folders_on_the_device_are_found_in_either_unicode_form(tmp_path: Path) -> None:
    touch(tmp_path, "Zoe\u0308/1.png", "cat/1.png", "__MACOSX/1.png")
    found = read_labeled(tmp_path, ("cat", "Zo\u00eb"))
    assert found.labels is not None
    assert sorted(found.labels.tolist()) == [0, 1]


def test_folders_that_are_no_classes_are_the_reason_why_there_are_no_labels(tmp_path: Path) -> None:
    touch(tmp_path, "dog/1.png", "owl/1.png")
    found = read_labeled(tmp_path, ("cat", "cow"))
    assert found.labels is None
    assert found.unlabeled == "folders 'dog', 'owl' are none of the bundle's classes 'cat', 'cow'"
    touch(tmp_path, "plain/1.png")
    assert read_labeled(tmp_path / "plain", ("cat", "cow")).unlabeled is None
