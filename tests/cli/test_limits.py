"""Limits of the splits, from a recipe through a run and its bundle to what is measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import invoke

from edgemate.api.own_images import read_test_split
from edgemate.bundle import Bundle
from edgemate.cli.evaluate import evaluate
from edgemate.exporting import ExportOptions, export_run
from edgemate.profiling.sampled_images import sample_test_split
from edgemate.runs import Run
from edgemate.training import train
from recipes import small_recipe

LIMITS = ("data.train_limit=192", "data.calibration_limit=40", "data.test_limit=60", "optimization.epochs=1")


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(small_recipe(*LIMITS), tmp_path_factory.mktemp("runs") / "limited")


@pytest.fixture(scope="module")
def bundle(limited: Run, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    options = ExportOptions(layouts=("segments",), precision="int8", tolerance=1.0)
    return export_run(limited, tmp_path_factory.mktemp("bundles") / "limited", options=options).bundle


def test_a_run_has_as_many_images_of_each_split_as_its_recipe_says(limited: Run) -> None:
    assert limited.read_metadata().images == {"train": 192, "calibration": 40, "test": 60}
    for split, count in (("calibration", 40), ("test", 60)):
        labels = limited.read_logits(split).labels  # type: ignore[arg-type]
        assert len(labels) == limited.read_metrics()["accuracy"][split]["images"] == count
        assert np.ptp(np.bincount(labels, minlength=10)) <= 2, "classes keep their fractions"


def test_its_profile_is_of_the_images_that_it_was_tested_on(limited: Run) -> None:
    _, labels = sample_test_split(limited, 1000)
    np.testing.assert_array_equal(labels, limited.read_logits("test").labels)


def test_its_bundle_is_calibrated_and_evaluated_on_the_same_images(limited: Run, bundle: Bundle) -> None:
    assert bundle.manifest.test_limit == 60
    found = read_test_split(bundle)
    np.testing.assert_array_equal(found.labels, limited.read_logits("test").labels)
    options = ("--policy", "full", "--threads", 1, "--json")
    report = json.loads(invoke(evaluate, bundle.path, *options).stdout)
    assert report["images"] == 60
    assert report["warnings"] == [], "it is as accurate as training recorded"


def test_a_bundle_from_before_there_were_limits_is_tested_on_all(bundle: Bundle, tmp_path: Path) -> None:
    manifest = json.loads((bundle.path / "bundle.json").read_text())
    del manifest["test_limit"]
    older = Bundle(bundle.path, type(bundle.manifest).model_validate(manifest))
    assert len(read_test_split(older).images) > 400
