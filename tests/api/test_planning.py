from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import edgemate
from edgemate.errors import DataError, RecipeError, UsageError
from recipes import SMALL, small_recipe

pytest.importorskip("torch")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return path


def test_a_network_is_planned_by_its_name() -> None:
    plan = edgemate.plan("resnet20", classes=10)
    assert (plan.network, plan.recipe, plan.image, plan.head) == ("resnet20", None, (3, 32, 32), "separable")
    assert [cut.name for cut in plan.exits] == ["stage1.1", "stage2.0", "stage3.0", "stage3.2"]
    found = json.loads(json.dumps(plan.to_json()))
    assert found["exits"] == ["stage1.1", "stage2.0", "stage3.0", "stage3.2"]
    assert found["cuts"][1]["exit"] == 1


def test_a_recipe_is_planned_for_its_dataset(recipe: Path) -> None:
    plan = edgemate.plan(recipe)
    assert (plan.image, plan.classes, plan.head, plan.recipe) == ((1, 8, 8), 10, "conv", str(recipe))
    assert len(plan.exits) == 3
    assert edgemate.plan(small_recipe()).cuts == plan.cuts
    other = edgemate.plan(recipe, overrides=["exits.at=[stage1, stage3]"], head="linear", image_size=16, classes=4)
    assert (other.image, other.classes, other.head) == ((1, 16, 16), 4, "linear")
    assert [cut.aliases for cut in other.exits] == [("stage1",), ("stage3",)]
    assert len(edgemate.plan(recipe, exits=2).exits) == 2


def test_a_head_that_is_asked_for_has_its_default_options(recipe: Path) -> None:
    narrow = ["exits.head=separable", "exits.options={width: 8}"]
    heads = [
        [cut.head_macs for cut in edgemate.plan(recipe, overrides=over, head=head).cuts]
        for over, head in ((narrow, None), (narrow[:1], None), ((), "separable"))
    ]
    assert heads[0] != heads[1] == heads[2]
    written = small_recipe(*narrow)
    assert [cut.head_macs for cut in edgemate.plan(written).cuts] == heads[0]
    assert [cut.head_macs for cut in edgemate.plan(written, head="separable").cuts] == heads[1]


def test_a_recipe_without_its_dataset_is_planned_from_what_is_given(recipe: Path) -> None:
    absent = ["data.name=image_folder", "data.options.path=nowhere", "data.image_size=32"]
    with pytest.raises(DataError, match=r"nowhere.*; or give `image_size`, `channels` and `classes`"):
        edgemate.plan(recipe, overrides=absent)
    plan = edgemate.plan(recipe, overrides=absent, channels=3, classes=5)
    assert (plan.image, plan.classes) == ((3, 32, 32), 5)


def test_what_cannot_be_is_refused(recipe: Path) -> None:
    for name, number in (("image_size", 3), ("image_size", 5000), ("channels", 0), ("classes", 1), ("exits", 0)):
        with pytest.raises(UsageError, match=f"{name} must be at (least|most)"):
            edgemate.plan("resnet8", **{name: number})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="`overrides` are for a recipe's file or name"):
        edgemate.plan(small_recipe(), overrides=["exits.count=2"])
    with pytest.raises(UsageError, match="`exits` is 9, but the backbone has 3 cut points"):
        edgemate.plan("resnet8", exits=9)
    with pytest.raises(UsageError, match=r"8×8 .*; set `image_size` to a size that it can take"):
        edgemate.plan("vgg11_bn", image_size=8)
    with pytest.raises(RecipeError, match=r"small.yaml: unknown cut point 'stage9'; did you mean 'stage3'"):
        edgemate.plan(recipe, overrides=["exits.at=[stage9]"])


@pytest.mark.parametrize(("network", "side"), [("msdnet_cifar_anytime", 32), ("resnet20", 32), ("resnet18", 224)])
def test_a_network_is_planned_at_its_own_image_size(network: str, side: int) -> None:
    assert edgemate.plan(network, exits=2).image == (3, side, side)


def test_a_network_that_needs_options_is_planned_by_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"^msdnet needs the options blocks, base, step; name a recipe that sets them"):
        edgemate.plan("msdnet")
    (tmp_path / "needy_networks.py").write_text("def needy(channels, *, depth: int): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"^needy_networks:needy needs the options depth"):
        edgemate.plan("needy_networks:needy")
