"""deploy/gpu_kit/training_wheels.py: packages for a machine with torch but no network."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts import load_script

script = load_script("deploy/gpu_kit/training_wheels.py")


def package(*specifiers: str, pinned: tuple[str, ...] = ()) -> object:
    return script.Package(list(specifiers), list(pinned))


def test_requirements_of_training_have_version_bounds_and_exclude_torch() -> None:
    found = script.requirements(script.NEEDED, "3.12")
    assert set(script.NEEDED) <= set(found)
    assert not {"torch", "torchvision", "scikit-learn", "matplotlib"} & set(found)
    assert ">=2.6" in found["lightning"].specifiers  # edgemate's own bound
    assert "pydantic" in found["pydantic-core"].pinned
    assert "pydantic-core" in found["pydantic"].pinned
    assert {"torchmetrics", "iopath", "yacs", "typing-extensions"} <= set(found)


def test_only_missing_or_too_old_packages_are_included() -> None:
    packages = {"a": package(">=2"), "b": package(">=2"), "c": package(">=1,<3", ">=2.5"), "d": package()}
    assert script.missing(packages, {"a": "2.0", "b": "1.9", "c": "2.4", "d": None}) == ["b", "c", "d"]
    assert script.missing(packages, {"a": "2.0", "b": "2", "c": "2.5.1", "d": "0.1"}) == []


def test_packages_pinned_to_each_other_are_included_together() -> None:
    packages = {"model": package(">=2", pinned=("core",)), "core": package("==2.5", pinned=("model",)), "z": package()}
    assert script.missing(packages, {"model": "2.1", "core": "2.2", "z": "1"}) == ["core", "model"]
    assert script.missing(packages, {"model": "1.9", "core": "2.5", "z": "1"}) == ["core", "model"]


def test_a_package_that_edgemate_does_not_require_is_an_error() -> None:
    with pytest.raises(SystemExit, match="left-pad: edgemate does not require it"):
        script.requirements(("numpy", "left-pad"), "3.12")


def test_another_machines_list_is_read(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("Typing_Extensions==4.1\n-e git+somewhere\nnumpy==2.0\n")
    assert script._freeze(tmp_path / "list.txt") == {"typing-extensions": "4.1", "numpy": "2.0"}
