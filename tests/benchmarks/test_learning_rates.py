"""Rows of the benchmark over learning rates, from comparisons that were trained apart."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from scripts import load_script

from edgemate.errors import UsageError

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")


def comparison(methods: dict[str, dict[int, tuple[float, float]]], epochs: int = 3) -> dict[str, Any]:
    """`comparison.json`, as far as it is read, of method → seed → accuracy of its two exits."""
    return {
        "recipe": {"optimization": {"epochs": epochs, "lr": 0.1}, "training": {"compile": False}},
        "methods": [
            {"label": label, "runs": [{"seed": seed, "test": {"exits": list(exits)}} for seed, exits in seeds.items()]}
            for label, seeds in methods.items()
        ],
    }


def test_methods_and_seeds_of_an_earlier_result_are_added() -> None:
    joined = load_script("benchmarks/learning_rates.py").joined
    rows = joined(
        [
            comparison({"mate": {1: (0.5, 0.7)}}),
            comparison({"mate": {0: (0.4, 0.8)}, "one": {1: (0.2, 0.2), 0: (0.1, 0.3)}}),
        ]
    )
    assert list(rows) == ["mate", "one"]
    assert rows["mate"].means == pytest.approx((0.6, 0.6))
    assert rows["mate"].first == (0.4, 0.5)
    assert rows["one"].first == (0.1, 0.2)
    assert rows["one"].mean == pytest.approx(0.2)
    assert rows["one"].deviation == pytest.approx(0)
    assert joined([comparison({"mate": {0: (0.4, 0.8)}})])["mate"].deviation is None


def test_what_does_not_belong_together_is_refused() -> None:
    joined = load_script("benchmarks/learning_rates.py").joined
    mate = comparison({"mate": {0: (0.4, 0.8)}})
    with pytest.raises(UsageError, match="mate: seed 0 is in two of the comparisons"):
        joined([mate, mate])
    with pytest.raises(UsageError, match="mate: lacks seed 1, which another method has"):
        joined([mate, comparison({"one": {1: (0.1, 0.2)}})])
    with pytest.raises(UsageError, match="section 'optimization' of the recipe differs"):
        joined([mate, comparison({"one": {0: (0.1, 0.2)}}, epochs=4)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no JSON", "cannot be read"),
        ("[]", "is not as this benchmark writes it"),
        (json.dumps({"benchmark": "roofline"}), "is not as this benchmark writes it"),
        (json.dumps({"benchmark": "learning_rates"}), "is not as this benchmark writes it"),
        (json.dumps({"benchmark": "learning_rates", "overrides": ["a=1"], "rates": {"0.1": []}}), "trained with a=1"),
        (json.dumps({"benchmark": "learning_rates", "overrides": [], "rates": {"0.1": [], "1": []}}), "rates 0.1, 1;"),
    ],
)
def test_an_earlier_result_that_does_not_fit_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "earlier.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=message):
        load_script("benchmarks/learning_rates.py")._read(path, ["distillation.scale=labels"], [0.1])
