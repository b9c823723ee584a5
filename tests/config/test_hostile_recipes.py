"""Recipes that nobody writes by mistake: one error each, at once, without torch."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edgemate.config import load_recipe
from edgemate.config.merging import parse_overrides
from edgemate.config.shipped import find_recipe
from edgemate.config.yaml_text import parse_yaml
from edgemate.errors import RecipeError, UsageError

VALID = """
data: {name: digits}
model: {backbone: resnet8}
optimization: {epochs: 1}
"""
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
MERGE_BOMB = "a0: &a0 {k: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 12)
)


def refusal(tmp_path: Path, text: str) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    started = time.process_time()
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert time.process_time() - started < 2
    assert len(str(caught.value)) < 10_000
    str(caught.value).encode()
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training: {patience: true}", "training.patience: should be a number, not true"),
        ("data: {train_limit: true}", "data.train_limit: should be a number, not true"),
        ("data: {mixup: false}", "data.mixup: should be a number, not false"),
        ("training: {seed: 2024-02-30}", "training.seed: should be a valid integer"),
        ("training: {seed: 2024-02-28}", "training.seed: should be a valid integer"),
        ("training: {seed: 2024-01-01T00:00:00+99:99}", "training.seed: should be a valid integer"),
        ("training: {seed: !!timestamp x}", "a value of timestamp; write plain values"),
        ("training: {seed: !!timestamp 2024-02-28}", "a value of timestamp; write plain values"),
        (f"training: {{seed: {'9' * 5000}}}", "is not of int"),
        (f"training: {{seed: 0x{'f' * 5000}}}", "is out of range; at most 9223372036854775807"),
        (f"training: {{seed: 1{':59' * 20_000}}}", "is out of range"),
        (f"training: {{seed: {2**63}}}", "is out of range"),
        ("training: {seed: !!int ''}", "'' is not of int"),
        ("training: {seed: !!int x}", "'x' is not of int"),
        ("training: {seed: !!float ''}", "'' is not of float"),
        ("training: {seed: !!bool x}", "'x' is not of bool"),
        ("training: {seed: !!int [1]}", "is not valid YAML"),
        ("training: !!map [1]", "is not valid YAML"),
        ("training: !!seq {a: 1}", "is not valid YAML"),
        ("training: !!set {a, b}", "a value of set"),
        ("training: !!omap [a: 1]", "a value of omap"),
        ("training: !!binary '####'", "a value of binary"),
        ("training: !!python/object/apply:os.getcwd []", "write plain values"),
        ("training: !mine 3", "a value of !mine"),
        ("training: {? [a] : 1}", "a key that is a list or a mapping"),
        ("training: {a: 1, b: 2, a: 3}", "duplicate key 'a'"),
        ("<<: 3", "is not valid YAML"),
        ("training: &a [*a]", "an alias that contains itself"),
        ("training: &a {b: *a}", "an alias that contains itself"),
        ("training: *none", "undefined alias"),
        ('training: "\\ud800"', "is not valid text"),
        ('"\\UFFFFFFFF": 1', "is not valid YAML"),
        ("\0", "is not valid YAML"),
        ("\ud800", "cannot be read as text"),
        (f"%YAML {'1' * 5000}.1\n---\na: 1", "is not valid YAML"),
        ("training: " + "[" * 100_000, "has more than 32 levels"),
        ("training: " + "{a: " * 20_000, "has more than 32 levels"),
        ("- " * 50_000, "has more than 32 levels"),
        ("? " * 50_000, "has more than 32 levels"),
        ("".join(f"{' ' * i}a:\n" for i in range(400)), "has more than 32 levels"),
        (BOMB, "the limit is 10,000"),
        (MERGE_BOMB, "the limit is 10,000"),
        ("a: " + "x" * (128 << 10), "has more than 131,072 bytes"),
        ("".join(f"k{i}:\n" for i in range(17_000)), "the limit is 10,000"),
        ("data: {" + "".join(f"k{i}: , " for i in range(13_000)) + "}", "the limit is 10,000"),
        (f"extends: {'a' * 5000}.yaml", "extends: "),
        ('extends: "a\\0b.yaml"', "extends: 'a\\x00b.yaml' cannot be a path"),
        ("extends: /dev/zero", "no such file"),
        ("extends: .", "no such file"),
        ("optimization: {epochs: .inf, warmup_epochs: .inf}", "optimization.epochs"),
        ("optimization: {epochs: .nan, warmup_epochs: 1}", "optimization.epochs"),
    ],
    ids=lambda value: repr(value[:40]),
)
def test_it_is_one_error_within_two_seconds(tmp_path: Path, text: str, message: str) -> None:
    assert message in refusal(tmp_path, text)


@pytest.mark.parametrize("section", ["data", "model"])
@pytest.mark.parametrize(
    "name",
    [
        "..:x",
        ":",
        ":x",
        "x:",
        "a..b:c",
        "os.path:sep",
        ".os:path",
        "os:",
        "os:path.join",
        "a:b:c",
        "\\0:x",
        "é:é",
        " : ",
    ],
)
def test_a_dotted_path_that_leads_nowhere(tmp_path: Path, section: str, name: str) -> None:
    tree = yaml.safe_load(VALID)
    tree[section] = {{"data": "name", "model": "backbone"}[section]: name.replace("\\0", "\0")}
    assert section in refusal(tmp_path, yaml.safe_dump(tree))


def test_thousands_of_unknown_keys_are_summed_up(tmp_path: Path) -> None:
    message = refusal(tmp_path, "data: {name: digits" + "".join(f", k{i}: 0" for i in range(3_000)) + "}")
    assert message.splitlines()[-1] == "  and 2982 more", "two required sections are missing too"


def test_recipes_that_extend_each_other_for_ever(tmp_path: Path) -> None:
    for i in range(40):
        (tmp_path / f"{i}.yaml").write_text(f"extends: {i + 1}.yaml")
    with pytest.raises(RecipeError, match="the chain has more than 32 files"):
        load_recipe(tmp_path / "0.yaml")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    refusal(tmp_path, "extends: loop.yaml")


@pytest.mark.parametrize(
    "override", ["a=!!int ''", "a=[" + "[" * 50_000, f"a=0x{'f' * 5000}", ".".join("a" * 40) + "=1"]
)
def test_an_override_is_read_within_the_same_limits(override: str) -> None:
    started = time.process_time()
    with pytest.raises(UsageError) as caught:
        parse_overrides([override])
    assert time.process_time() - started < 1
    assert "\n" not in str(caught.value)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(plain)
def test_plain_values_are_read_as_they_were_written(value) -> None:
    assert parse_yaml(yaml.safe_dump(value)) == value


def test_anchors_and_merge_keys_still_work() -> None:
    text = "x: {inner: &a {<<: &base {lr: 1, wd: 2}, lr: 3}}\ny: {<<: *a, wd: 4}\nz: [*base, *a]\n"
    found = parse_yaml(text)
    assert found["y"] == {"lr": 3, "wd": 4}
    assert found["z"] == [{"lr": 1, "wd": 2}, {"lr": 3, "wd": 2}]


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b", "/" * 5000 + "x"])
def test_a_name_that_cannot_be_a_path(name: str) -> None:
    with pytest.raises(UsageError, match="no such file or shipped recipe") as caught:
        find_recipe(name)
    assert len(str(caught.value)) < 4000
