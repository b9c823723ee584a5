"""The fakes' names, held to the TensorRT-RTX that is installed."""

from __future__ import annotations

import importlib

import pytest
from tensorrt_names import API, VERSIONS, names

from edgemate.runtime.backends.tensorrt.compat import is_installed

RTX = VERSIONS[-1]


@pytest.mark.tensorrt
@pytest.mark.skipif(not is_installed("tensorrt_rtx"), reason="tensorrt_rtx is not installed")
@pytest.mark.parametrize("owner", API)
def test_the_installed_one_has_these_names_and_lacks_the_others(owner: str) -> None:
    module = importlib.import_module("tensorrt_rtx")
    if not module.__version__.startswith("1.7."):
        pytest.skip(f"the names are those of 1.7, not {module.__version__}")
    real = module if owner == "module" else getattr(module, owner, None)
    known = {name for listed in API[owner].values() for name in listed.split()}
    assert {name for name in known if hasattr(real, name)} == set(names(owner, RTX))


def test_a_range_of_versions_includes_both_ends() -> None:
    flags = {version: set(names("BuilderFlag", version)) for version in VERSIONS}
    assert [version for version in VERSIONS if "WEIGHTLESS" in flags[version]] == ["10.3.0", "10.13.2", "10.16.1"]
    assert [version for version in VERSIONS if "STRICT_TYPES" in flags[version]] == ["8.5.3.1", "8.6.1"]
    assert [version for version in VERSIONS if names("ComputeCapability", version)] == [RTX]
