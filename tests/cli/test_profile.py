from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import invoke

from edgemate.bundle import Bundle
from edgemate.cli.fractions import parse_fraction
from edgemate.cli.profile import parse_batches, profile
from edgemate.errors import RecipeError, UsageError
from edgemate.exporting import Exported
from edgemate.profiling.timings import Case
from edgemate.runs import Run
from edgemate.sensors.reading import Reading


@pytest.fixture
def run(finished_run: Run, exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    def ready(run: Run, output: Path, **options: Any) -> Exported:
        return exported

    monkeypatch.setattr("edgemate.profiling.profiler.export_run", ready)
    return Run(Path(shutil.copytree(finished_run.path, tmp_path / "tiny")))


def test_tables_are_printed_and_files_written(run: Run) -> None:
    result = invoke(profile, run.path, "--images", 10, "--repeats", 2, "--threads", 1)
    assert result.exit_code == 0, result.output
    for text in ("peak memory", "ONNX Runtime", "1 thread", "measured on 10 test images", "balanced"):
        assert text in result.stdout
    assert "full network, one graph" in result.stdout
    assert re.fullmatch(r"total time: \d+:\d\d", result.stdout.splitlines()[-1])
    assert "not in the MACs: element-wise (one operation per value" in result.stdout
    assert "aten::add 3×" in result.stdout
    for name in ("layers.csv", "roofline.csv"):
        assert name not in result.stdout
        assert not (run.path / name).exists()
    for name in ("profile.json", "tradeoff.csv", "curves.png"):
        assert name in result.stdout
        assert (run.path / name).is_file()


def test_layers_and_estimates_are_printed_and_written(run: Run) -> None:
    result = invoke(
        profile,
        *(run.path, "--images", 10, "--repeats", 2, "--threads", 1, "--layers"),
        *("--device-spec", "orin-nano", "--device-spec", "thor"),
    )
    assert result.exit_code == 0, result.output
    assert "layers with the most MACs, in the order in which they run; 20 of 21" in result.stdout
    assert "1 other layer, with 0.0 % of the MACs, only in layers.csv" in result.stdout
    assert "stages.0.blocks.0.module.0" in result.stdout
    for device in ("Jetson Orin Nano 8GB, MAXN SUPER", "Jetson T5000 (AGX Thor), MAXN"):
        assert f"ESTIMATE, not measured: least possible ms at batch 1 on {device}" in result.stdout
    assert "int8, as segments (estimate)" in result.stdout
    counts = json.loads((run.path / "profile.json").read_text())["counts"]
    with (run.path / "layers.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [layer["path"] for layer in counts["layers"]]
    assert sum(int(row["macs"]) for row in rows) == counts["segments"][-1]["macs"] + sum(
        segment["macs"] for segment in counts["segments"][:-1]
    )
    with (run.path / "roofline.csv").open(encoding="utf-8", newline="") as file:
        floors = list(csv.DictReader(file))
    assert len(floors) == len(counts["estimates"]) == 2 * 3 * 3 * 3
    assert {row["estimate"] for row in floors} == {"True"}
    assert "estimated_floor_ms" in floors[0]
    assert all(estimate["estimate"] is True for estimate in counts["estimates"])
    assert all(figure["source"] for device in counts["devices"] for figure in device["peak_flops"].values())


@pytest.mark.parametrize(("option", "name"), [(("--layers",), "layers"), (("--device-spec", "thor"), "device_specs")])
def test_a_bundle_has_no_network_to_count(exported: Exported, option: tuple[str, ...], name: str) -> None:
    error = invoke(profile, exported.bundle.path, *option).exception
    assert isinstance(error, UsageError)
    assert f"`{name}`: a bundle has no network to count; profile the run that it is from" in str(error)


def test_without_layers_the_json_has_none(run: Run) -> None:
    invoke(profile, run.path, "--images", 10, "--repeats", 2, "--threads", 1)
    counts = json.loads((run.path / "profile.json").read_text())["counts"]
    assert "layers" not in counts
    assert counts["estimates"] == []
    assert [count["exit"] for count in counts["exits"]] == [1, 2, 3]


def test_json_is_what_was_written(run: Run) -> None:
    result = invoke(profile, run.path, "--images", 10, "--repeats", 2, "--threads", 1, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads((run.path / "profile.json").read_text())


def test_times_that_fall_from_exit_to_exit_are_marked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    falling = {1: 31.25, 2: 21.25, 3: 41.25}

    def timed(calls: dict[Case, Any], **_: Any) -> dict[Case, list[list[float]]]:
        return {case: [[falling[case.exit] if case.library == "pytorch-cpu" else case.exit] * 2] for case in calls}

    monkeypatch.setattr("edgemate.profiling.measuring.time_blocks", timed)
    shown = invoke(profile, run.path, "--images", 10, "--repeats", 2, "--threads", 1).stdout
    assert "31.2 !" in shown
    assert "21.2 !" not in shown
    assert "! not monotone: slower than a later exit, so the machine was busy; run again on an idle machine" in shown
    assert json.loads(run.profile_path.read_text())["not_monotone"]["pytorch"] == [1]


QUICK = ("--repeats", 3, "--threads", 1, "--quiet")


@pytest.fixture
def bundle(own_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle beside an empty current folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return own_bundle


def test_a_bundle_is_profiled_into_a_folder_of_its_name(bundle: Path) -> None:
    result = invoke(profile, bundle, *QUICK, "--batch", "1,3")
    assert result.exit_code == 0, result.output
    folder = Path("profile") / bundle.name
    for name in ("profile.json", "tradeoff.csv", "curves.png"):
        assert (folder / name).is_file()
        assert str(folder / name) in result.stdout
    assert "accuracies are of 24 images of the calibration split" in result.stdout
    assert "simulated on 24 calibration images" in result.stdout
    assert "PyTorch" not in result.stdout
    for text in ("all timings, ms per batch", "its segment alone", "first call", "peak memory: process", "energy,"):
        assert text in result.stdout
    assert json.loads((folder / "profile.json").read_text())["batches"] == [1, 3]
    Bundle.open(bundle)


def test_several_paths_have_a_table_each_and_one_of_all(run: Run, bundle: Path, tmp_path: Path) -> None:
    options = (*QUICK, "--images", 10, "--output", tmp_path / "out")
    result = invoke(profile, run.path, bundle, *options)
    assert result.exit_code == 0, result.output
    combined = result.stdout.split("all together; median ms at batch 1")[1]
    assert "tiny (run)" in combined
    assert "small (bundle)" in combined
    for name in (run.path.name, bundle.name):
        assert (tmp_path / "out" / name / "profile.json").is_file()
    listed = json.loads(invoke(profile, run.path, bundle, *options, "--json").stdout)
    assert [one["kind"] for one in listed] == ["run", "bundle"]
    assert not run.profile_path.exists()


def test_two_profiles_cannot_go_to_the_same_place(bundle: Path) -> None:
    found = invoke(profile, bundle, bundle, *QUICK).exception
    assert isinstance(found, UsageError)
    assert "would both go to" in str(found)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--layers",), "`layers`: a bundle has no network to count"),
        (("--device-spec", "thor"), "`device_specs`: a bundle has no network to count"),
        (("--device-spec", "thorr"), "device spec 'thorr': neither one of"),
        (("--batch", "2000"), "batch must be at most 1,024, not 2000"),
        (("--threads", "0"), "threads must be at least 1, not 0"),
        (("--data", "photographs"), "`data`: a run is scored on its own test split"),
    ],
)
def test_what_one_of_several_paths_cannot_do_is_said_before_anything_is_measured(
    run: Run, bundle: Path, monkeypatch: pytest.MonkeyPatch, option: tuple[str, ...], message: str
) -> None:
    monkeypatch.setattr("edgemate.api.profile", never)
    error = invoke(profile, run.path, bundle, *option).exception
    assert isinstance(error, UsageError)
    assert message in str(error)


def test_a_path_that_is_nothing_is_said_before_the_one_before_it_is_measured(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgemate.api.profile", never)
    error = invoke(profile, bundle, tmp_path).exception
    assert isinstance(error, UsageError)
    assert "is neither a bundle" in str(error)


def never(*given: Any, **options: Any) -> None:
    pytest.fail("something was measured")


@pytest.mark.parametrize("batch", ["9" * 5000, "0", "1,", "x", "-1", "1;2", ""])
def test_batch_sizes_are_numbers_with_commas(bundle: Path, batch: str) -> None:
    with pytest.raises(UsageError, match="such as 1,4,16"):
        parse_batches(batch)


@pytest.mark.parametrize("text", ["5%", "5 %", "0.05", " 5.0% "])
def test_a_fraction_is_a_percentage_or_a_number(text: str) -> None:
    assert parse_fraction("tolerance", text) == pytest.approx(0.05)


@pytest.mark.parametrize("text", ["", "five", "5%%", "-1%", "nan", "inf", "%"])
def test_what_is_no_fraction_is_said(text: str) -> None:
    with pytest.raises(UsageError, match=r"tolerance .*: must be a percentage or a fraction"):
        parse_fraction("tolerance", text)


@pytest.mark.parametrize("option", [("--tolerance", "5%"), ("--accuracy-tolerance", "1%"), ("--anyway",)])
def test_what_belongs_to_a_comparison_needs_one(option: tuple[str, ...]) -> None:
    error = invoke(profile, "somewhere", *option).exception
    assert isinstance(error, UsageError)
    assert str(error) == f"{option[0]}: only with --compare BASELINE.json"


@pytest.fixture
def times() -> dict[str, float]:
    """What every call takes once `baseline` is made, in `ms`."""
    return {"ms": 10.0}


@pytest.fixture
def baseline(bundle: Path, times: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bundle's profile with times that are scripted from now on: those of every exit are 10 ms."""

    def timed(calls: dict[Case, Any], **_: Any) -> dict[Case, list[list[float]]]:
        return {case: [[times["ms"]] * 2] * 3 for case in calls}

    monkeypatch.setattr("edgemate.profiling.measuring.time_blocks", timed)
    # The page and the plots take a second and a half each time, and other tests look at them.
    monkeypatch.setattr("edgemate.api.profile_report.write_own_report", lambda *_: None)
    monkeypatch.setattr("edgemate.profiling.measuring.others_cores", lambda *_: Reading(0.0))
    assert invoke(profile, bundle, *QUICK, "--output", "before").exit_code == 0
    return Path("before/profile.json")


@pytest.mark.parametrize(
    ("ms", "options", "code"),
    [(10.0, (), 0), (10.4, (), 0), (11.0, (), 1), (11.0, ("--tolerance", "15%"), 0), (9.0, (), 0)],
)
def test_the_exit_code_says_whether_something_got_worse(
    bundle: Path, baseline: Path, times: dict[str, float], ms: float, options: tuple[str, ...], code: int
) -> None:
    times["ms"] = ms
    result = invoke(profile, bundle, *QUICK, "--compare", baseline, *options)
    assert result.exit_code == code, result.output
    assert "figures compared: " + ("9 worse, 0 better" if code else "0 worse") in result.stdout
    assert ("slower" in result.stdout) == bool(code)
    if code:
        assert "+10.0 %" in result.stdout
    as_json = invoke(profile, bundle, *QUICK, "--compare", baseline, *options, "--json")
    assert as_json.exit_code == code
    assert json.loads(as_json.stdout)["comparison"]["worse"] == (9 if code else 0)


def test_a_baseline_may_be_the_file_that_is_written_next(bundle: Path, baseline: Path, times: dict[str, float]) -> None:
    times["ms"] = 20.0
    result = invoke(profile, bundle, *QUICK, "--output", "before", "--compare", baseline)
    assert result.exit_code == 1
    assert json.loads(baseline.read_text())["exits"][0]["onnxruntime_prefix"]["p50"] == 20.0


def test_less_accurate_is_worse(bundle: Path, baseline: Path) -> None:
    content = json.loads(baseline.read_text())
    content["exits"][1]["accuracy"] = 1.0
    content["exits"][2]["accuracy"] -= 0.5
    baseline.write_text(json.dumps(content))
    result = invoke(profile, bundle, *QUICK, "--compare", baseline)
    assert result.exit_code == 1
    assert "less accurate" in result.stdout
    assert invoke(profile, bundle, *QUICK, "--compare", baseline, "--accuracy-tolerance", "100%").exit_code == 0


def test_another_device_is_refused_before_anything_is_measured(
    bundle: Path, baseline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgemate.profiling.bundle_profiler.load_libraries", pytest.fail)
    found = invoke(profile, bundle, "--threads", 2, "--compare", baseline).exception
    assert isinstance(found, UsageError)
    assert "the baseline is of another device: threads 1 there, 2 here" in str(found)
    baseline.write_text("{")
    assert "not valid JSON" in str(invoke(profile, bundle, "--compare", baseline).exception)
    assert "takes one path" in str(invoke(profile, bundle, bundle.parent, "--compare", baseline).exception)


def test_a_run_is_compared_with_its_own_profile(run: Run) -> None:
    options = ("--images", 10, *QUICK)
    assert invoke(profile, run.path, *options).exit_code == 0
    result = invoke(profile, run.path, *options, "--compare", run.profile_path, "--tolerance", "10000%")
    assert result.exit_code == 0, result.output
    assert "0 worse" in result.stdout


def test_images_are_for_bundles(run: Run, tmp_path: Path) -> None:
    assert "a run is scored on its own test split" in str(invoke(profile, run.path, "--data", tmp_path).exception)


def test_how_many_images_is_for_runs_and_for_images_that_are_given(bundle: Path) -> None:
    error = invoke(profile, bundle, "--images", 10, *QUICK).exception
    assert isinstance(error, UsageError)
    assert "`images`: without `data` no image of a bundle is classified" in str(error)


def test_without_matplotlib_the_plot_alone_is_missing(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "edgemate.report.curve_plot", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = invoke(profile, bundle, *QUICK)
    assert result.exit_code == 0, result.output
    assert "no curves.png and curves.svg: matplotlib is not installed" in result.stdout
    assert not list(Path("profile").glob("*/*.png"))


def test_one_page_of_several_paths(run: Run, bundle: Path, tmp_path: Path) -> None:
    page = tmp_path / "all.html"
    result = invoke(profile, run.path, bundle, "--images", 10, *QUICK, "--html", page)
    assert result.exit_code == 0, result.output
    text = page.read_text()
    assert f">{run.name}</option>" in text
    assert "of the calibration split</strong>" in text
    assert "of the test split</strong>" in text
    for path in (page, *(page.with_suffix(f".{kind}") for kind in ("csv", "json", "png", "svg")), *run.report_paths):
        assert path.is_file()
        assert str(path) in result.stdout


def test_a_page_that_is_no_html_is_refused_before_anything_is_measured(run: Run) -> None:
    error = invoke(profile, run.path, "--html", run.path / "all.txt").exception
    assert isinstance(error, UsageError)
    assert "name a file that ends in .html" in str(error)
    assert not run.profile_path.exists()


@pytest.mark.parametrize("name", ["profile", "metadata", "policies"])
def test_a_page_does_not_go_into_a_run(run: Run, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("edgemate.api.profile", never)
    before = run.metadata_path.read_bytes()
    error = invoke(profile, run.path, "--html", run.path / f"{name}.html").exception
    assert isinstance(error, UsageError)
    assert str(error) == f"{run.path}: is a run; name another folder with `html`"
    assert run.metadata_path.read_bytes() == before


@pytest.mark.parametrize("name", ["profile", "report", "curves", "tradeoff", "layers", "roofline"])
def test_a_page_does_not_replace_what_the_same_call_writes(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("edgemate.api.profile", never)
    for folder, option in ((Path("profile") / bundle.name, ()), (Path("out"), ("--output", "out"))):
        page = folder / f"{name}.html"
        error = invoke(profile, bundle, "--html", page, *option).exception
        assert isinstance(error, UsageError)
        assert f"html {page}: the page or its curves would replace {folder / name}." in str(error)


def test_a_page_does_not_replace_the_baseline(
    bundle: Path, baseline: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("edgemate.api.profile", never)
    shutil.copy(baseline, "base.json")
    (tmp_path / "elsewhere").symlink_to(Path.cwd())
    for page in ("base.html", tmp_path / "elsewhere" / "base.html"):
        error = invoke(profile, bundle, *QUICK, "--compare", "base.json", "--html", page).exception
        assert isinstance(error, UsageError)
        assert f"would replace {Path(page).with_suffix('.json')}; give it another name" in str(error)


def plugged_in(run: Run, folder: Path) -> None:
    """Let the run's recipe name a schedule in `folder`."""
    (folder / "own_schedule.py").write_text("def falling(epochs: float):\n    return lambda done: 1 - done / epochs\n")
    recipe = yaml.safe_load(run.recipe_path.read_text())
    recipe["optimization"] |= {"schedule": "own_schedule:falling", "schedule_options": {}}
    run.recipe_path.write_text(yaml.safe_dump(recipe))


def test_a_page_is_written_of_a_run_whose_plug_ins_are_allowed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugged_in(run, tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    page = tmp_path / "all.html"
    result = invoke(profile, run.path, "--images", 10, *QUICK, "--allow-plugins", "--html", page)
    assert result.exit_code == 0, result.output
    assert "The test images are not available" not in page.read_text()


def test_what_cannot_be_opened_is_said_before_the_one_before_it_is_measured(
    run: Run, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgemate.api.profile", never)
    plugged_in(run, tmp_path)
    error = invoke(profile, bundle, run.path).exception
    assert isinstance(error, RecipeError)
    assert "`allow_plugins`" in str(error)
    pytest.importorskip("cryptography")
    error = invoke(profile, bundle, run.path, "--trusted-keys", "keys").exception
    assert isinstance(error, UsageError)
    assert "keys" in str(error)


def test_without_bokeh_the_page_alone_is_missing(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("edgemate.report.") and "page" in name]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name in ("edgemate.report.rendering", "edgemate.report.plotting")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "edgemate.report.charts", raising=False)
    monkeypatch.delattr("edgemate.report.plotting", raising=False)
    monkeypatch.setitem(sys.modules, "bokeh.embed", None)
    result = invoke(profile, bundle, *QUICK)
    assert result.exit_code == 0, result.output
    assert "no report.html: bokeh is not installed; pip install 'edgemate[report]'" in result.stdout
    assert len(list(Path("profile").glob("*/curves.*"))) == 4


def test_what_is_neither_run_nor_bundle_is_said(tmp_path: Path) -> None:
    error = invoke(profile, tmp_path).exception
    assert isinstance(error, UsageError)
    assert "is neither a bundle (a folder with bundle.json) nor a run" in str(error)
