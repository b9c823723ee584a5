"""What the demo must show, with its own recipe, trained as `make demo` trains it."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgemate
from edgemate.profiling import Profile
from edgemate.profiling.efficient import cost_of

MAKEFILE = Path(__file__).parents[2] / "Makefile"
RECIPE = "digits/resnet20_mate"


@pytest.fixture(scope="module", params=[0, 1, 2])
def profile(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Profile:
    run = tmp_path_factory.mktemp("demo") / f"seed{request.param}"
    edgemate.train(RECIPE, run, overrides=[f"training.seed={request.param}"])
    return edgemate.profile(run, images=200, threads=1)


def test_the_demo_runs_this_recipe() -> None:
    assert f"train recipes/{RECIPE}.yaml" in MAKEFILE.read_text()


@pytest.mark.slow
def test_the_first_exit_is_weaker_than_the_last(profile: Profile) -> None:
    first, *_, last = (exit.accuracy for exit in profile.exits)
    assert last >= 0.975  # of 449 images; processors and numbers of threads round differently
    assert first <= last - 0.02


@pytest.mark.slow
def test_every_operating_point_is_faster_than_the_full_network(profile: Profile) -> None:
    # All variants take turns over the same images, so that other load on the machine affects all alike.
    points = [point for point in profile.points if point.curve == "accuracy-latency"]
    (full,) = (point for point in points if point.kind == "full network")
    named = {point.name: point for point in points if point.kind == "operating point"}
    assert set(named) == {"accurate", "balanced", "fast"}
    for name, point in named.items():
        assert cost_of(point) < cost_of(full), name
        # Of 200 images. Points are chosen on about 270 others, on which `fast` may lose two points.
        assert point.accuracy >= full.accuracy - 0.06, name


@pytest.mark.slow
def test_a_stage_costs_more_than_a_call_of_the_runtime(profile: Profile) -> None:
    # Chained segments add two calls to the last exit's one; that is small beside what the stages take.
    assert profile.exits[-1].onnxruntime_segments.p50 < 1.25 * profile.exits[-1].onnxruntime_prefix.p50
