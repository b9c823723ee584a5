from __future__ import annotations

import pytest
from dataset_trees import fgvc_aircraft as tree
from dataset_trees import write_lines

from edgemate.config.options import part_options
from edgemate.data.datasets.fgvc_aircraft import check_fgvc_aircraft, fgvc_aircraft
from edgemate.errors import DataError
from edgemate.registry import DATASETS


@pytest.mark.parametrize(
    ("level", "classes"),
    [
        ("variant", ("707-320", "Challenger 600", "F/A-18")),
        ("family", ("Boeing 707", "Challenger 600", "F/A-18")),
        ("manufacturer", ("Boeing", "Canadair", "McDonnell Douglas")),
    ],
)
def test_training_and_validation_images_are_trained_on(tmp_path, level, classes):
    tree(tmp_path)
    source = fgvc_aircraft(root=str(tmp_path), level=level)
    assert source.classes == classes
    assert (source.channels, source.size) == (3, None)
    assert [path.name for path in source.train.paths] == [
        f"{number}.jpg" for number in (1000000, 1000001, 1000002, 1000010, 1000011, 1000012)
    ]
    assert [path.name for path in source.test.paths] == ["1000020.jpg", "1000021.jpg", "1000022.jpg"]
    names = [classes[label] for label in source.test.labels]
    assert names[0].startswith(("707", "Boeing"))
    assert names[1] in ("F/A-18", "McDonnell Douglas")
    assert source.test.image(0).mode == "RGB"


def test_only_the_lists_of_the_level_are_required(tmp_path):
    folder = tree(tmp_path)
    (folder / "images_family_val.txt").unlink()
    check_fgvc_aircraft(root=str(tmp_path))
    for use in (check_fgvc_aircraft, fgvc_aircraft):
        with pytest.raises(DataError, match=r"images_family_val\.txt is missing"):
            use(root=str(tmp_path), level="family")


def test_the_level_is_an_option_of_recipes():
    options = part_options(DATASETS, "fgvc_aircraft")
    assert options.model_validate({}).level == "variant"
    with pytest.raises(ValueError, match="'variant', 'family' or 'manufacturer'"):
        options.model_validate({"level": "model"})


def test_a_class_that_is_not_listed_is_named(tmp_path):
    write_lines(tree(tmp_path) / "images_variant_test.txt", "1000020 707-321")
    with pytest.raises(DataError, match=r"test\.txt: image 1000020 is of '707-321', which is not in .*variants\.txt"):
        fgvc_aircraft(root=str(tmp_path))
