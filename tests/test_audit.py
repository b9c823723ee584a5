from __future__ import annotations

from email.message import Message

import pytest

pytest.importorskip("packaging")

from audit import ALLOWED, is_allowed, license_of, license_problems, packages, used_packages


def metadata(**fields: str) -> Message:
    message = Message()
    for name, value in fields.items():
        message[name.replace("_", "-")] = value
    return message


def test_no_package_that_edgemate_needs_has_a_license_that_is_not_allowed() -> None:
    assert license_problems(used_packages()) == []


def test_a_device_gets_few_packages_and_none_of_the_training() -> None:
    device = packages(("",))
    assert {"numpy", "pillow", "pydantic", "pyyaml", "rich", "typer"} <= device
    assert not {"torch", "onnx", "lightning"} & device


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"License_Expression": "GPL-3.0-only", "License": "MIT"}, "GPL-3.0-only"),
        ({"Classifier": "License :: OSI Approved :: MIT License"}, "MIT"),
        ({"License": "Apache License, Version 2.0"}, "Apache-2.0"),
        ({"License": "Apache License v2.0"}, "Apache-2.0"),
        ({"Classifier": "License :: OSI Approved :: Historical Permission Notice and Disclaimer (HPND)"}, "HPND"),
        ({"License": "Proprietary"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_a_license_is_what_the_package_says(fields: dict[str, str], expected: str) -> None:
    assert license_of(metadata(**fields)) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("MIT AND BSD-3-Clause", True),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only AND MIT", False),
        ("MPL-2.0", False),
        ("unknown", False),
    ],
)
def test_one_alternative_must_be_allowed_as_a_whole(expression: str, allowed: bool) -> None:
    assert is_allowed(expression, ALLOWED["device"]) is allowed
