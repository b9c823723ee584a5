"""Bundles that claim more than any network has: one line with the limit's figure, at once."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgemate import files
from edgemate.bundle import Bundle
from edgemate.errors import BundleError

SPEC = {"channels": 3, "mean": [0.5] * 3, "std": [0.2] * 3}
CROPPED = {**SPEC, "height": 8, "width": 8, "center_crop": [8, 8]}
HASH = {"sha256": "0" * 64, "bytes": 1}


def refusal(folder: Path, **changes: Any) -> str:
    manifest = json.loads((folder / "bundle.json").read_text()) | changes
    (folder / "bundle.json").write_text(json.dumps(manifest))
    started = time.process_time()
    with pytest.raises(BundleError) as caught:
        Bundle.open(folder, verify=False)
    assert time.process_time() - started < 1
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": {**SPEC, "height": 10**9, "width": 8}}, "input.height: Input should be less than or equal to 16384"),
        ({"input": {**SPEC, "height": 16_000, "width": 16_000}}, "16000 × 16000 are too many pixels"),
        ({"input": {**CROPPED, "resize": {"mode": "shorter_side", "size": 40_000}}}, "less than or equal to 16384"),
        ({"input": {**CROPPED, "resize": {"mode": "stretch", "size": [16_000] * 2}}}, "; the limit is 16,777,216"),
        ({"input": {**SPEC, "height": 8, "width": 8, "center_crop": [40_000, 40_000]}}, "less than or equal to 16384"),
        ({"classes": ["x"] * 100_001}, "classes: Tuple should have at most 100000 items"),
        ({"files": {f"{i}": HASH for i in range(10_001)}}, "files: Dictionary should have at most 10000 items"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_it_is_refused_with_the_figure(own_bundle: Path, changes: dict[str, Any], message: str) -> None:
    assert message in refusal(own_bundle, **changes)


def test_more_exits_than_any_network_has(own_bundle: Path) -> None:
    exits = json.loads((own_bundle / "bundle.json").read_text())["exits"]
    assert "exits: Tuple should have at most 256 items" in refusal(own_bundle, exits=exits * 100)


@pytest.mark.parametrize("value", [10**18 + 1, 10**400, 10**19, -1, 1e300])
@pytest.mark.parametrize("key", ["macs", "chained_macs", "parameters"])
def test_costs_that_no_float_holds(own_bundle: Path, key: str, value: float) -> None:
    exits = json.loads((own_bundle / "bundle.json").read_text())["exits"]
    exits[1][key] = value
    assert refusal(own_bundle, exits=exits)


def test_a_manifest_as_large_as_a_disk(own_bundle: Path) -> None:
    with (own_bundle / "bundle.json").open("r+b") as target:
        target.truncate(40 << 30)
    with pytest.raises(BundleError, match="has 42,949,672,960 bytes; the limit is 16,777,216"):
        Bundle.open(own_bundle, verify=False)


def arrays(bundle: Bundle, **changes: Any) -> dict[str, Any]:
    golden = bundle.golden()
    found: dict[str, Any] = {"images": golden.images, "labels": golden.labels, "logits": golden.logits}
    return {name: array for name, array in (found | changes).items() if array is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.array(3)}, "labels must be int64 (24,), not int64 ()"),
        ({"labels": None}, "labels must be int64 (24,), not nothing"),
        ({"labels": np.full(24, 4)}, "labels are from 4 to 4; the bundle has 4 classes, so they must be from 0 to 3"),
        ({"labels": np.full(24, -1)}, "labels are from -1 to -1"),
        ({"labels": np.zeros(24, np.int32)}, "labels must be int64 (24,), not int32 (24,)"),
        ({"logits": np.full((24, 3, 4), np.nan, np.float32)}, "logits has a number that is not finite"),
        ({"logits": np.zeros((24, 3, 4), ">f4")}, "logits must be float32"),
        ({"images": np.full((24, 3, 8, 8), np.inf, np.float32)}, "images has a number that is not finite"),
        ({"images": np.array([object()] * 24)}, "images: is of dtype object"),
    ],
)
def test_arrays_that_are_not_the_bundles(own_bundle: Path, changes: dict[str, Any], message: str) -> None:
    bundle = Bundle.open(own_bundle)
    files.write_arrays(own_bundle / "golden.npz", arrays(bundle, **changes))
    with pytest.raises(BundleError) as caught:
        bundle.golden()
    assert message in str(caught.value)


def test_memory_is_not_allocated_for_samples_that_are_of_another_network(own_bundle: Path) -> None:
    bundle = Bundle.open(own_bundle)
    zeros = np.zeros((60, 1 << 20), np.uint8)  # which unfolds from 64 kB
    files.write_arrays(own_bundle / "golden.npz", arrays(bundle, images=zeros))
    with pytest.raises(BundleError, match="images must be float32"):
        bundle.golden()
