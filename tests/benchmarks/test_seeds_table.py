"""A table of comparisons that were trained apart."""

from __future__ import annotations

import copy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from scripts import load_script

from edgemate.errors import UsageError

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")

RECIPE = {
    "data": {"name": "digits"},
    "model": {"backbone": "resnet8"},
    "exits": {"head": "linear"},
    "optimization": {"epochs": 3, "lr": 0.1},
    "training": {"cache_dir": "here", "freeze": "none"},
}


def comparison(seeds: dict[int, dict[str, tuple[float, float]]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """`comparison.json` and `gains.json` of seed → method → accuracy of its two exits; the budgeted one is exit 1's."""
    labels = next(iter(seeds.values()))
    tree = {
        "recipe": copy.deepcopy(RECIPE),
        "cuts": ["a", "b"],
        "images": {"train": 1000, "test": 500},
        "seeds": list(seeds),
        "machine": {"processor": "a processor"},
        "jobs": 2,
        "threads": 1,
        "methods": [
            {
                "label": label,
                "runs": [
                    {"test": {"exits": list(of[label])}, "train_seconds": 10.0, "numerics": "fp32, contiguous"}
                    for of in seeds.values()
                ],
            }
            for label in labels
        ],
    }
    gains = {
        "methods": [
            {
                "label": label,
                "runs": [{"budgeted": of[label][0], "speedup": 2.0, "lost": 0.004} for of in seeds.values()],
            }
            for label in labels
        ]
    }
    return tree, gains


FIRST = comparison({0: {"mate": (0.60, 0.80), "joint_ce": (0.50, 0.86), "one": (0.5, 0.5)}})
SECOND = comparison({1: {"joint_ce": (0.52, 0.84), "mate": (0.66, 0.80)}})


def rows(text: str) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]


def test_seeds_are_joined_and_differences_are_paired() -> None:
    text = load_script("benchmarks/seeds_table.py").table([("first", *FIRST), ("second", *SECOND)])
    mate, joint_ce = rows(text)  # `one` is not in both
    assert mate[:3] == ["`mate`", "**63.00 ± 4.24**", ""]
    assert mate[4] == "**71.50 ± 2.12**"
    assert joint_ce[:5] == ["`joint_ce`", "51.00 ± 1.41", "−12.00 ± 2.00", "**85.00 ± 1.41**", "68.00 ± 0.00"]
    assert joint_ce[5] == "−3.50 ± 1.50"
    assert joint_ce[-2:] == ["2.00 ×, 0.40", "10"]
    assert "seeds 0, 1" in text
    assert text.count("a processor, 2 at a time with 1 thread each, fp32, contiguous") == 2


def test_methods_of_a_seed_can_be_trained_apart() -> None:
    table = load_script("benchmarks/seeds_table.py").table
    apart = [comparison({1: {"mate": (0.66, 0.80)}}), comparison({1: {"joint_ce": (0.52, 0.84)}})]
    text = table([("second", *apart[1]), ("first", *FIRST), ("third", *apart[0])])  # in any order
    assert rows(text) == rows(table([("first", *FIRST), ("second", *SECOND)]))
    assert "Seed 1 of `joint_ce`: a processor" in text
    assert "Seed 0: a processor" in text


def test_one_seed_has_no_deviations() -> None:
    text = load_script("benchmarks/seeds_table.py").table([("first", *FIRST)])
    assert [row[0] for row in rows(text)] == ["`mate`", "`joint_ce`", "`one`"]
    assert "±" not in text


def test_comparisons_that_do_not_belong_together_are_refused() -> None:
    table = load_script("benchmarks/seeds_table.py").table
    with pytest.raises(UsageError, match="second: mate has seed 0 in another of the comparisons too"):
        table([("first", *FIRST), ("second", *FIRST)])
    tree, gains = copy.deepcopy(SECOND)
    tree["recipe"]["training"]["cache_dir"] = "elsewhere"
    table([("first", *FIRST), ("second", tree, gains)])
    tree["recipe"]["optimization"]["lr"] = 0.2
    with pytest.raises(UsageError, match="second: is of a recipe with another section 'optimization' than first"):
        table([("first", *FIRST), ("second", tree, gains)])
    with pytest.raises(UsageError, match="no method has all of the seeds 0, 1"):
        table([("first", *FIRST), ("second", *comparison({1: {"dml": (0.5, 0.5)}}))])


@pytest.mark.parametrize("content", ["{}", "[]", "no JSON"])
def test_a_file_that_is_no_comparison_is_one_line(tmp_path: Path, content: str) -> None:
    for name in ("comparison.json", "gains.json"):
        (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=r"comparison\.json: (is not as|cannot be read)"):
        load_script("benchmarks/seeds_table.py")._read(tmp_path / "comparison.json")
