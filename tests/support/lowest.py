"""The lowest versions that `pyproject.toml` allows, as requirements: `python lowest.py > lowest.txt`.

A bound that is too low is noticed only by who has less than the newest of everything. `make test-lowest` installs
these and runs the tests there.
"""

from __future__ import annotations

import importlib.metadata

from packaging.requirements import Requirement

EXTRAS = ("", "ort", "report", "train", "export", "cluster", "tune", "serve")
# Left at what pip takes: PyYAML 6.0 cannot be built with today's tools.
FREE = {"pyyaml"}
# What the oldest need of packages that edgemate does not ask for itself: the tests let no deprecation pass.
BESIDE = [
    "click==8.2.0",  # typer 0.16
    "pyparsing<3.2",  # matplotlib 3.8
]


def lowest() -> list[str]:
    """A requirement per package that edgemate needs, but for TensorRT and the tools of its own development."""
    pins = set()
    for line in importlib.metadata.requires("edgemate") or []:
        needed = Requirement(line)
        wanted = needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in EXTRAS)
        if not wanted or needed.name in {"edgemate", *FREE}:
            continue
        [bound] = [each.version for each in needed.specifier if each.operator == ">="]
        pins.add(f"{needed.name}=={bound}")
    return sorted(pins) + BESIDE


if __name__ == "__main__":
    print("\n".join(lowest()))
