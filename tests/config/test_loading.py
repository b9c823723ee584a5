from pathlib import Path

import pytest
import yaml

from edgemate.config import Recipe, load_recipe, parse_recipe
from edgemate.errors import RecipeError, UsageError

SMALLEST = {"data": {"name": "digits"}, "model": {"backbone": "resnet8"}, "optimization": {"epochs": 2}}


def write(path: Path, tree: object) -> Path:
    path.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree))
    return path


def problems_of(tree: dict[str, object]) -> tuple[str, ...]:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(tree, "r.yaml")
    return caught.value.problems


def test_a_small_recipe_gets_every_default_the_parts_options_included(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path / "r.yaml", SMALLEST))
    assert recipe.distillation.method == "mate"
    assert recipe.distillation.options["primary"] == 0.7
    assert recipe.model.options == {"width": 16}
    assert recipe.optimization.optimizer_options == {"momentum": 0.9, "nesterov": False}


def test_a_resolved_recipe_reads_back_as_itself(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path / "a.yaml", SMALLEST))
    assert load_recipe(write(tmp_path / "b.yaml", recipe.model_dump(mode="json"))) == recipe


def test_all_problems_are_named_at_once_each_with_its_path() -> None:
    tree = {
        "data": {"name": "digts", "calibration_fraction": 2},
        "model": {"backbone": "resnet8", "options": {"widht": 3}},
        "optimization": {"epochs": 2, "lr": -1, "momentum": 0.9},
        "distilation": {},
    }
    problems = problems_of(tree)
    text = "\n".join(problems)
    assert len(problems) == 6
    assert "data.calibration_fraction: should be less than 1, not 2" in text
    assert "optimization.lr: should be greater than 0, not -1" in text
    assert "optimization.momentum: unknown key" in text
    assert "distilation: unknown key; did you mean 'distillation'" in text
    assert "data.name: unknown dataset 'digts'; did you mean 'digits'?" in text
    assert "model.options.widht: unknown key; did you mean 'width'?" in text


def test_a_missing_section_is_named() -> None:
    assert "optimization: missing, and it is required" in problems_of(
        {"data": {"name": "digits"}, "model": {"backbone": "resnet8"}}
    )


def test_an_option_of_an_augmentation_is_checked_with_its_place() -> None:
    tree = SMALLEST | {
        "data": {"name": "digits", "augmentation": ["horizontal_flip", {"random_crop": {"padding": -1}}]}
    }
    (problem,) = problems_of(tree)
    assert problem.startswith("data.augmentation.1.options.padding: should be greater than or equal to 0")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data: [unclosed", "is not valid YAML"),
        ("2001-02-30", "should be a mapping of sections, not str"),
        ("data: " + "[" * 3000, "is not valid YAML"),
        ("- a\n- b\n", "should be a mapping of sections, not list"),
        ("", "should be a mapping of sections, not NoneType"),
        ("data: {name: a}\ndata: {name: b}\n", "duplicate key 'data'"),
    ],
)
def test_a_file_that_is_not_a_recipe_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path / "r.yaml", text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    message = str(caught.value)
    assert expected in message
    assert message.startswith(str(path))
    assert "\n" not in message


def test_bytes_that_are_not_text_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"\xff\xfe\x00data")
    with pytest.raises(RecipeError, match="cannot be read as text"):
        load_recipe(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such file"):
        load_recipe(tmp_path / "absent.yaml")


def test_extends_merges_a_recipe_over_another(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", SMALLEST | {"distillation": {"method": "mate", "options": {"alpha": 2}}})
    child = write(tmp_path / "child.yaml", {"extends": "base.yaml", "optimization": {"lr": 0.3}})
    recipe = load_recipe(child)
    assert (recipe.optimization.epochs, recipe.optimization.lr) == (2, 0.3)
    assert recipe.distillation.options["alpha"] == 2


def test_naming_another_part_drops_the_old_parts_options(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", SMALLEST | {"distillation": {"method": "mate", "options": {"proximity": 0}}})
    child = write(tmp_path / "child.yaml", {"extends": "base.yaml", "distillation": {"method": "joint_ce"}})
    assert load_recipe(child).distillation.options == {"weights": None}


@pytest.mark.parametrize(
    ("child", "expected"),
    [
        ("extends: child.yaml", "leads back"),
        ("extends: absent.yaml", "no such file"),
        ("extends: [a]", "one other file"),
    ],
)
def test_a_wrong_extends_is_named(tmp_path: Path, child: str, expected: str) -> None:
    with pytest.raises(RecipeError, match=expected):
        load_recipe(write(tmp_path / "child.yaml", child))


def test_overrides_are_yaml_merged_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "r.yaml", SMALLEST)
    recipe = load_recipe(path, ["optimization.lr=5e-2", "exits.at=[stage1, stage3]", "distillation.options.alpha=2"])
    assert recipe.optimization.lr == 0.05
    assert recipe.exits.at == ["stage1", "stage3"]
    assert recipe.distillation.options["alpha"] == 2


@pytest.mark.parametrize("override", ["optimization.lr", "=3", "optimization..lr=3", "a=[1"])
def test_a_malformed_override_is_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(UsageError, match=r"^override "):
        load_recipe(write(tmp_path / "r.yaml", SMALLEST), [override])


def test_a_dotted_path_names_a_users_own_part() -> None:
    recipe = parse_recipe(SMALLEST | {"model": {"backbone": "edgemate.models.cifar_resnet:resnet8"}}, "r.yaml")
    assert isinstance(recipe, Recipe)
    (problem,) = problems_of(SMALLEST | {"model": {"backbone": "no.such:thing"}})
    assert problem.startswith("model.backbone: backbone 'no.such:thing' cannot be imported")


def with_methods(*methods: object, **more: object) -> dict[str, object]:
    return SMALLEST | {"distillation": {"methods": list(methods), **more}}


def test_several_methods_may_be_written_in_three_ways(tmp_path: Path) -> None:
    recipe = parse_recipe(
        with_methods("mate", {"eed": {"logits": "kl"}}, {"name": "byot", "weight": 0.5, "options": {"beta": 0}}), "r"
    )
    distillation = recipe.distillation
    assert distillation.method is None
    assert distillation.names == ["mate", "eed", "byot"]
    assert distillation.methods is not None
    assert [part.weight for part in distillation.methods] == [1, 1, 0.5]
    assert distillation.methods[0].options["primary"] == 0.7
    assert distillation.methods[1].options["logits"] == "kl"
    assert distillation.methods[2].options == {"alpha": 0.1, "temperature": 3.0, "beta": 0}
    assert load_recipe(write(tmp_path / "again.yaml", recipe.model_dump(mode="json"))) == recipe


def test_the_options_of_one_of_several_methods_are_checked_with_its_place() -> None:
    tree = with_methods("mate", {"eed": {"logit": "kl"}}, {"name": "eeed", "weight": 2})
    assert sorted(problems_of(tree)) == [
        "distillation.methods.1.options.logit: unknown key; did you mean 'logits'?",
        "distillation.methods.2.name: unknown distillation method 'eeed'; did you mean 'eed' or 'beed'?",
    ]


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (
            with_methods("mate", method="eed"),
            "distillation: method and methods are both set; set method and options for one",
        ),
        (
            with_methods("mate", options={"alpha": 2}),
            "distillation: options and methods are both set; set method and options for one",
        ),
        (with_methods("mate", {"mate": {}}), "distillation: methods has mate twice"),
        (with_methods(), "distillation.methods: List should have at least 1 item"),
        (with_methods({"name": "mate", "weight": 0}), "distillation.methods.0.weight: should be greater than 0, not 0"),
        (
            SMALLEST | {"distillation": {"method": None}},
            "distillation: no method is set; set method, or methods for several",
        ),
    ],
)
def test_inconsistent_methods_are_named(tree: dict[str, object], expected: str) -> None:
    (problem,) = problems_of(tree)
    assert problem.startswith(expected)


def test_one_way_of_naming_methods_replaces_the_other(tmp_path: Path) -> None:
    one = write(tmp_path / "one.yaml", SMALLEST | {"distillation": {"method": "mate", "options": {"alpha": 3}}})
    several = {"methods": [{"byot": {"beta": 0}}, "eed"]}
    child = write(tmp_path / "several.yaml", {"extends": one.name, "distillation": several})
    recipe = load_recipe(child)
    assert (recipe.distillation.method, recipe.distillation.options) == (None, {})
    assert recipe.distillation.names == ["byot", "eed"]
    usual = parse_recipe(SMALLEST, "r.yaml").distillation.options
    again = load_recipe(child, ["distillation.method=mate"]).distillation
    assert (again.method, again.methods, again.options) == ("mate", None, usual)
    assert usual["alpha"] != 3
    resolved = write(tmp_path / "resolved.yaml", load_recipe(one).model_dump(mode="json"))
    laid_over = {"extends": resolved.name, "distillation": several}
    assert load_recipe(write(tmp_path / "over.yaml", laid_over)).distillation == recipe.distillation


def test_older_runs_of_mate_keep_the_rate_of_their_teachers_weights(tmp_path: Path) -> None:
    old = {"temperature": 2.0, "teacher_rate": 10.0}
    tree = {"data": {"name": "digits"}, "model": {"backbone": "resnet8"}, "optimization": {"epochs": 1, "lr": 0.02}}
    for section in ({"options": old}, {"method": "mate", "options": old}):
        options = parse_recipe({**tree, "distillation": section}, "a run").distillation.options
        assert options["teacher_lr"] == pytest.approx(0.2)
        assert options["temperature"] == 2
        assert "teacher_rate" not in options
    for part in ({"name": "mate", "options": old}, {"name": "mate", "weight": 2, "options": old}):
        methods = parse_recipe({**tree, "distillation": {"methods": [part, "dml"]}}, "a run").distillation.methods
        assert methods is not None
        assert methods[0].options["teacher_lr"] == pytest.approx(0.2)
    for wrong in (
        {"method": "one", "options": {"teacher_rate": 1.0}},
        {"options": {"teacher_rate": "fast"}},
        {"options": {"teacher_rate": 10**400}},
    ):
        with pytest.raises(RecipeError, match=r"distillation.options.teacher_rate: unknown key"):
            parse_recipe({**tree, "distillation": wrong}, "a run")
