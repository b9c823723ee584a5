"""benchmarks/gpu/training_wheels.py: what is brought to a machine that has torch, but no network."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts import load_script

script = load_script("gpu/training_wheels.py")


def package(*specifiers: str, pinned: tuple[str, ...] = ()) -> object:
    return script.Package(list(specifiers), list(pinned))


def test_what_training_needs_is_found_with_its_bounds_and_without_torch() -> None:
    found = script.requirements(script.NEEDED, "3.12")
    assert set(script.NEEDED) <= set(found)
    assert not {"torch", "torchvision", "scikit-learn", "matplotlib"} & set(found)
    assert ">=2.6" in found["lightning"].specifiers  # edgemate's own bound
    assert "pydantic" in found["pydantic-core"].pinned
    assert "pydantic-core" in found["pydantic"].pinned
    assert {"torchmetrics", "iopath", "yacs", "typing-extensions"} <= set(found)


def test_only_what_is_not_there_or_not_new_enough_is_brought() -> None:
    packages = {"a": package(">=2"), "b": package(">=2"), "c": package(">=1,<3", ">=2.5"), "d": package()}
    assert script.missing(packages, {"a": "2.0", "b": "1.9", "c": "2.4", "d": None}) == ["b", "c", "d"]
    assert script.missing(packages, {"a": "2.0", "b": "2", "c": "2.5.1", "d": "0.1"}) == []


def test_packages_that_want_exact_versions_of_each_other_come_together() -> None:
    packages = {"model": package(">=2", pinned=("core",)), "core": package("==2.5", pinned=("model",)), "z": package()}
    assert script.missing(packages, {"model": "2.1", "core": "2.2", "z": "1"}) == ["core", "model"]
    assert script.missing(packages, {"model": "1.9", "core": "2.5", "z": "1"}) == ["core", "model"]


def test_a_package_that_edgemate_no_longer_asks_for_is_named() -> None:
    with pytest.raises(SystemExit, match="edgemate does not ask for left-pad any more"):
        script.requirements(("numpy", "left-pad"), "3.12")


def test_another_machines_list_is_read(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("Typing_Extensions==4.1\n-e git+somewhere\nnumpy==2.0\n")
    assert script._freeze(tmp_path / "list.txt") == {"typing-extensions": "4.1", "numpy": "2.0"}
