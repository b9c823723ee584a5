from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemate.errors import UsageError
from edgemate.profiling.comparing import Comparison, compare_profiles
from edgemate.profiling.intervals import wilson
from edgemate.profiling.stored_profile import StoredProfile, parse_profile, read_stored_profile


def stored(
    *, p50: float = 10.0, half: float = 0.1, accuracy: float = 0.9, energy: float | None = None, **changes: Any
) -> StoredProfile:
    timing = {
        "library": "onnxruntime",
        "graphs": "segments",
        "exit": 1,
        "batch": 1,
        "latency": {"p50": p50, "p50_interval": [p50 - half, p50 + half], "p90": p50},
        "energy": None if energy is None else {"millijoules": energy, "idle_millijoules": 1.0},
    }
    return parse_profile(
        {
            "format_version": 1,
            "run": "tiny",
            "machine": {"processor": "Z80", "cores": 1, "onnxruntime": "1.22"},
            "threads": 1,
            "split": "test",
            "images": 400,
            "network": {"classes": 10, "input": [1, 8, 8], "exits": ["stage1"]},
            "exits": [
                {
                    "exit": 1,
                    "name": "stage1",
                    "macs": 1000,
                    "chained_macs": 1000,
                    "parameters": 100,
                    "prefix_bytes": 400,
                    "accuracy": accuracy,
                }
            ],
            "timings": [timing],
            **changes,
        },
        "here",
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exits": []}, "not a profile: exits: .*name the profile.json"),
        ({"timings": []}, "not a profile: timings: .*name the profile.json"),
        ({"network": {"exits": ["stage1", "stage2"]}}, "not a profile: exits: has 1, its network 2; name"),
    ],
)
def test_a_baseline_that_lacks_figures_is_refused_since_it_would_always_pass(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        stored(**changes)


def verdicts(compared: Comparison) -> set[tuple[str, str]]:
    return {(one.figure, one.verdict) for one in compared.differences if one.verdict != "same"}


@given(st.floats(0.1, 1000), st.floats(0, 100), st.floats(0, 1), st.floats(0, 1))
def test_a_profile_is_the_same_as_itself(p50: float, half: float, accuracy: float, tolerance: float) -> None:
    one = stored(p50=p50, half=half, accuracy=accuracy)
    compared = compare_profiles(one, one, tolerance=tolerance, accuracy_tolerance=tolerance)
    assert not compared.worse
    assert not compared.better


@given(st.floats(1, 100), st.floats(1, 100), st.floats(0.01, 5), st.floats(0.01, 5))
def test_what_is_worse_one_way_is_better_the_other_way(a: float, b: float, half_a: float, half_b: float) -> None:
    one, other = stored(p50=a, half=half_a), stored(p50=b, half=half_b)
    there, back = compare_profiles(one, other, tolerance=0), compare_profiles(other, one, tolerance=0)
    assert len(there.worse) == len(back.better)
    assert len(there.better) == len(back.worse)


@pytest.mark.parametrize(
    ("p50", "half", "slower"),
    [
        (10.4, 0.1, False),  # beyond the noise, within 5 %
        (10.6, 0.1, True),
        (10.6, 0.6, False),  # beyond 5 %, within the noise
        (9.0, 0.1, False),
    ],
)
def test_slower_is_beyond_the_noise_and_beyond_the_tolerance(p50: float, half: float, slower: bool) -> None:
    compared = compare_profiles(stored(p50=p50, half=half), stored())
    assert (("onnxruntime segments p50, ms", "slower") in verdicts(compared)) is slower


def test_without_an_interval_the_quartiles_are_the_noise() -> None:
    def few(p50: float) -> StoredProfile:
        profile = stored(p50=p50)
        latency = {"p50": p50, "p25": 0.95 * p50, "p75": 1.05 * p50}
        timing = {**profile.timings[0].model_dump(), "latency": latency}
        return stored(timings=[timing])

    assert not compare_profiles(few(10.9), few(10)).worse
    assert compare_profiles(few(11.5), few(10)).worse


def test_engines_that_were_built_differently_are_noted() -> None:
    def built(**backend: str) -> StoredProfile:
        loading = {"library": "tensorrt", "graphs": "segments", "load_ms": 1, "first_call_ms": 1}
        return stored(loading=[{**loading, "backend": {"tensorrt": "10.3.0", "threads": "2", **backend}}])

    there, here = built(precision="fp16", gpu="Orin"), built(precision="fp32", gpu="Orin")
    assert compare_profiles(here, there).notes == ("tensorrt segments: precision fp16 there, fp32 here",)
    assert compare_profiles(here, here).notes == ()
    assert compare_profiles(here, stored()).notes == ()  # an earlier version did not write it down


def test_counted_figures_have_no_noise() -> None:
    larger = stored(
        exits=[
            {
                "exit": 1,
                "name": "stage1",
                "macs": 1040,
                "chained_macs": 1060,
                "parameters": 90,
                "prefix_bytes": 500,
                "accuracy": 0.9,
            }
        ]
    )
    assert verdicts(compare_profiles(larger, stored())) == {
        ("chained macs", "larger"),
        ("prefix bytes", "larger"),
        ("parameters", "better"),
    }


def test_energy_is_compared_with_the_noise_of_its_time() -> None:
    found = verdicts(compare_profiles(stored(energy=60.0), stored(energy=50.0)))
    assert found == {("onnxruntime segments energy, mJ", "larger")}
    assert not verdicts(compare_profiles(stored(energy=60.0, half=2.0), stored(energy=50.0, half=2.0)))
    assert not verdicts(compare_profiles(stored(energy=60.0), stored()))


def test_on_the_same_images_a_loss_beyond_the_tolerance_counts_and_on_others_it_may_be_chance() -> None:
    assert verdicts(compare_profiles(stored(accuracy=0.88), stored())) == {("accuracy", "less accurate")}
    assert not verdicts(compare_profiles(stored(accuracy=0.895), stored()))
    assert verdicts(compare_profiles(stored(accuracy=0.92), stored())) == {("accuracy", "better")}
    others = compare_profiles(stored(accuracy=0.88, split="calibration"), stored())
    assert not verdicts(others)
    assert "accuracies are of 400 images of the test split there" in others.notes[0]
    assert verdicts(compare_profiles(stored(accuracy=0.7, split="calibration"), stored()))


@given(st.integers(1, 1000), st.floats(0, 1))
def test_the_interval_of_an_accuracy_is_around_it_and_within_0_and_1(images: int, accuracy: float) -> None:
    low, high = wilson(accuracy, images)
    assert -1e-9 <= low <= accuracy + 1e-9
    assert accuracy - 1e-9 <= high <= 1 + 1e-9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threads": 2}, "another device: threads 1 there, 2 here"),
        ({"machine": {"processor": "6502", "cores": 1}}, "another device: processor Z80 there, 6502 here"),
        ({"network": {"classes": 10, "input": [1, 8, 8], "exits": ["stage2"]}}, "another network: exits"),
        (
            {"conditions": {"before": {"power_mode": {"value": "15W"}}}},
            "another device: power mode None there, 15W here",
        ),
    ],
)
def test_another_network_or_device_is_refused_unless_asked_for(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compare_profiles(stored(**changes), stored())
    compared = compare_profiles(stored(p50=20.0, **changes), stored(), anyway=True)
    assert compared.worse
    assert message.split(": ")[1] in compared.notes[0]


def test_other_versions_and_the_warnings_of_both_are_notes() -> None:
    newer = stored(
        machine={"processor": "Z80", "cores": 1, "onnxruntime": "1.30"},
        conditions={"before": {"governors": {"value": ["powersave"], "reason": None}}},
        warnings=["the spread is wide"],
    )
    assert compare_profiles(newer, stored()).notes == (
        "onnxruntime 1.22 there, 1.30 here",
        "governors None there, ['powersave'] here",
        "here: the spread is wide",
    )


@pytest.mark.parametrize("tolerance", [-0.1, float("nan"), float("inf")])
def test_a_tolerance_must_be_a_number_of_0_or_more(tolerance: float) -> None:
    with pytest.raises(UsageError, match="tolerance: must be 0 or more"):
        compare_profiles(stored(), stored(), tolerance=tolerance)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[1]", "not a profile; name the profile.json"),
        ("{}", "not a profile: run: Field required"),
        ('{"format_version": 2}', "written by a newer edgemate"),
        ('{"exits": [], "run": "old"}', "written by an older edgemate .format 0.; .*: profile it again"),
        ('{"format_version": 1, "run": 7}', "not a profile: run: Input should be a valid string"),
        ('{"format_version": "one"}', "not a profile"),
    ],
)
def test_a_file_that_is_no_profile_of_this_format_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as raised:
        read_stored_profile(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"p50": -1.0},
        {"p50": 1e308},
        {"p50": "nan"},
        {"p50": "inf"},
        {"energy": 1e308},
        {"accuracy": 5.0},
        {"accuracy": -1e308},
        {"images": -1},
        {"threads": -1},
        {"images": 2**63 - 1},
    ],
)
def test_numbers_that_no_profile_has_are_refused(changes: dict[str, Any]) -> None:
    """Negative times turned the verdict round, others ended in a traceback when everything was measured."""
    changes = {"half": 0.0, **changes}
    if isinstance(changes.get("p50"), str):
        content = stored().model_dump(mode="json")
        content["timings"][0]["latency"]["p50"] = changes["p50"]
        with pytest.raises(UsageError, match=r"not a profile: timings\.0\.latency\.p50: "):
            parse_profile(content, "there")
        return
    with pytest.raises(UsageError, match=r"not a profile: [\w.]+: Input should be (greater|less) than or equal to"):
        stored(**changes)


@pytest.mark.parametrize("p50", [0.0, 1e-320])
def test_times_of_nothing_give_finite_changes(p50: float) -> None:
    before, after = stored(p50=p50, half=0.0, energy=1.0), stored(energy=2.0)
    for one, other in ((before, after), (after, before)):
        json.dumps(compare_profiles(one, other).to_json(), allow_nan=False)


def test_what_differs_is_told_in_few_words() -> None:
    other = stored(network={"exits": ["stage1"], "classes": "x" * 100_000} | {str(k): 1 for k in range(1000)})
    with pytest.raises(UsageError) as caught:
        compare_profiles(stored(), other)
    assert len(str(caught.value)) < 2_000


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_stored_profile(tmp_path / "profile.json")


def test_what_newer_fields_say_is_ignored(tmp_path: Path) -> None:
    content = {"format_version": 1, "roofline": {"floor": 1}, **stored().model_dump(mode="json")}
    (tmp_path / "profile.json").write_text(json.dumps(content))
    assert read_stored_profile(tmp_path / "profile.json") == stored()


def test_the_images_given_are_the_same_only_if_they_are_of_the_same_folder() -> None:
    before, now = stored(split="images", data="a", accuracy=0.9), stored(split="images", data="b", accuracy=0.87)
    compared = compare_profiles(now, before)
    assert verdicts(compared) == set(), "3 points of 400 other images are noise"
    assert any("the images given (a) there, of 400 of the images given (b) here" in note for note in compared.notes)
    assert verdicts(compare_profiles(stored(split="images", data="a", accuracy=0.87), before)) != set()
