"""The report in headless Chromium."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import browser, console_errors, missing, open_page, requests
from bundles import own_bundle, small_bundle
from commands import invoke
from profiles import counts_json, profile_json

from edgemate.cli.calibrate import calibrate
from edgemate.cli.evaluate import evaluate
from edgemate.cli.profile import profile
from edgemate.exporting import Exported
from edgemate.report import write_report
from edgemate.report.subject import Subject
from edgemate.runs import Run
from edgemate.wording import engineering, least_milliseconds, percent

__all__ = ["own_bundle", "small_bundle"]

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

MOVE = """
const slider = document.getElementById(arguments[0]);
slider.value = arguments[1];
slider.dispatchEvent(new Event("input"));
"""


def text(driver: Any, name: str) -> str:
    shown: str = driver.execute_script("return document.getElementById(arguments[0]).textContent", name)
    return shown


def figures(driver: Any) -> dict[str, str]:
    return {name: text(driver, f"figure-{name}") for name in ("accuracy", "macs", "ms", "p99", "shares")}


def printed(command: str) -> str:
    """What the command line of the page prints."""
    program, name, *arguments = shlex.split(command)
    assert (program, name) == ("edgemate", "evaluate")
    result = invoke(evaluate, *arguments)
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def test_it_loads_nothing_and_reports_no_error(chromium: Any, page: Path) -> None:
    chromium.get("about:blank")
    requests(chromium)
    open_page(chromium, page)
    assert console_errors(chromium) == []
    assert requests(chromium) == [page.as_uri()]
    assert chromium.execute_script("return performance.getEntriesByType('resource').map((one) => one.name)") == []


def test_its_policy_forbids_requests(chromium: Any, page: Path) -> None:
    open_page(chromium, page)
    refused = chromium.execute_async_script(
        "const done = arguments[0]; fetch('https://example.org').then(() => done(false), () => done(true))"
    )
    assert refused
    (error,) = console_errors(chromium)[:1]
    assert "Content Security Policy" in error


@pytest.mark.parametrize("seed", range(4))
def test_the_figures_are_those_that_the_command_prints(chromium: Any, page: Path, seed: int) -> None:
    open_page(chromium, page)
    random = np.random.default_rng(seed)
    for exit in (1, 2):
        chromium.execute_script(MOVE, f"threshold-{exit}", str(random.integers(0, 60)))
    shown = figures(chromium)
    (row,) = [line for line in printed(text(chromium, "evaluate")).splitlines() if shown["accuracy"] in line][-1:]
    cells = [cell.strip() for cell in row.strip("│ ").split("│")]
    macs, ms, p99 = shown["macs"], shown["ms"].removesuffix(" ms"), shown["p99"].removesuffix(" ms")
    assert cells == [shown["accuracy"], macs, ms, p99, shown["shares"]]


def test_moving_a_slider_by_keyboard_changes_the_figures(chromium: Any, page: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    open_page(chromium, page)
    slider = chromium.find_element(By.ID, "threshold-1")
    before = figures(chromium), slider.get_attribute("aria-valuetext"), text(chromium, "calibrate")
    slider.send_keys(Keys.HOME)
    everything_leaves = figures(chromium)
    assert everything_leaves["shares"] == "100.0 0.0 0.0"
    slider.send_keys(Keys.END)
    after = figures(chromium), slider.get_attribute("aria-valuetext"), text(chromium, "calibrate")
    assert after[0]["shares"].startswith("0.0 ")
    assert all(one != other for one, other in zip(before, after, strict=True))
    slider.send_keys(Keys.ARROW_LEFT)
    assert chromium.execute_script("return document.activeElement.id") == "threshold-1"
    assert slider.get_attribute("aria-valuetext") != after[1]


FOCUSED = """
const active = document.activeElement, here = active.closest(".chart") ?? active;
const named = here.labels?.length > 0 || here.ariaLabel !== null || here.textContent.trim() !== "";
return [here.id || here.tagName, getComputedStyle(here).outlineStyle, named];
"""


def test_everything_can_be_reached_by_keyboard_and_shows_its_focus(chromium: Any, page: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    open_page(chromium, page)
    reached = []
    for _ in range(40):
        ActionChains(chromium).send_keys(Keys.TAB).perform()
        name, outline, label = chromium.execute_script(FOCUSED)
        if name == "BODY":
            break
        reached.append(name)
        assert outline != "none", name
        assert label, name
    assert {"theme", "budget", "threshold-1", "threshold-2"} <= set(reached)


def test_a_threshold_that_equals_a_confidence_does_not_stop_it(chromium: Any, page: Path, profiled: Run) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    subject = Subject.of(profiled, json.loads(profiled.profile_path.read_text()))
    confidences = subject.confidences()[0]
    threshold = float(np.sort(confidences)[len(confidences) // 2])
    open_page(chromium, page)
    number = chromium.find_element(By.CSS_SELECTOR, "input[type=number]")
    number.clear()
    number.send_keys(repr(threshold), Keys.TAB)
    stopped = int((confidences > np.float32(threshold)).sum())
    assert f"stops {stopped} of {len(confidences)} images" in chromium.page_source
    assert np.float32(number.get_attribute("value")) == np.float32(threshold)


def test_the_budget_is_solved_by_the_command_that_is_shown(chromium: Any, page: Path, tmp_path: Path) -> None:
    open_page(chromium, page)
    chromium.execute_script(MOVE, "budget", "9")
    command = shlex.split(text(chromium, "calibrate"))
    assert command[:2] == ["edgemate", "calibrate"]
    assert "--mean-macs" in command
    run = Run(Path(shutil.copytree(command[2], tmp_path / "copy")))
    result = invoke(calibrate, run.path, *command[3:], "--json")
    assert result.exit_code == 0, result.output
    (point,) = [point for point in json.loads(result.stdout)["points"] if point["name"] == "macs"]
    given = shlex.split(text(chromium, "evaluate"))[-1].split(",")
    solved = point["parameters"]["threshold"]
    assert [np.float32(number) for number in given] == [np.float32(number) for number in solved]
    accuracy = figures(chromium)["accuracy"]
    assert accuracy in printed(text(chromium, "evaluate"))
    assert "at most" in text(chromium, "controls")


def test_a_bundle_is_shown_on_its_calibration_split(
    chromium: Any, exported: Exported, profiled: Run, tmp_path: Path
) -> None:
    from edgemate.bundle import Bundle

    bundle = Bundle.open(shutil.copytree(exported.bundle.path, tmp_path / "bundle"))
    profile = json.loads(profiled.profile_path.read_text())
    path = tmp_path / "bundle.html"
    write_report([bundle], [profile], path, tmp_path / "bundle")
    open_page(chromium, path)
    assert console_errors(chromium) == []
    chromium.execute_script(MOVE, "threshold-1", "20")
    shown, command = figures(chromium), shlex.split(text(chromium, "calibrate"))
    assert "of the calibration split" in text(chromium, "scored-0")
    assert "Thresholds are chosen on them too" in text(chromium, "scored-0")
    result = invoke(calibrate, *command[2:], "--json")
    assert result.exit_code == 0, result.output
    (custom,) = [point for point in json.loads(result.stdout)["points"] if point["name"] == "custom"]
    assert shown["accuracy"] == f"{100 * custom['expected']['accuracy']:.2f} %"
    assert shown["shares"] == " ".join(f"{100 * one:.1f}" for one in custom["expected"]["fractions"])


CELLS = """
return [...document.querySelectorAll(arguments[0])].map((table) => ({
  caption: table.caption.textContent,
  rows: [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent.trim())),
}));
"""


def test_counts_are_shown_and_floors_are_marked_as_estimates(
    chromium: Any, profiled: Run, tmp_path: Path, own_spec: Path
) -> None:
    counts = counts_json(profiled, ["orin-nano", str(own_spec)])
    path = tmp_path / "page.html"
    write_report([profiled], [profile_json(profiled, counts=counts)], path, tmp_path / "curves")
    open_page(chromium, path)
    assert console_errors(chromium) == []
    (table,) = chromium.execute_script(CELLS, "table.counts")
    header, *rows = table["rows"]
    weights = [f"weights {precision}" for precision in ("fp32", "fp16", "int8")]
    assert header == ["exit", "MACs", "FLOPs", "parameters", *weights, "activations moved", "peak"]
    assert [row[0] for row in rows[:3]] == ["1 stage1", "2 stage2", "3 stage3"]
    assert [row[0] for row in rows[3:]] == ["segment 1 stage1", "segment 2 stage2", "segment 3 stage3"]
    for row, count in zip(rows, [*counts["exits"], *counts["segments"]], strict=True):
        sizes = [*count["weight_bytes"].values(), count["activation_bytes"], count["peak_activation_bytes"]]
        numbers = [engineering(count[name]) for name in ("macs", "flops", "parameters")]
        assert row[1:] == [*numbers, *(engineering(size, "B") for size in sizes)]
    assert "aten::add" in chromium.page_source
    floors = chromium.execute_script(CELLS, "table.floors")
    assert len(floors) == 2
    for floor, device in zip(floors, counts["devices"], strict=True):
        assert floor["caption"].startswith(f"Estimate, not measured: least possible ms at batch 1 on {device['name']}")
        header, *rows = floor["rows"]
        assert len(header) == 1 + 2 * len(device["peak_flops"])
        assert all("(estimate)" in column for column in header[1:])
        here = [one for one in counts["estimates"] if one["device"] == device["name"]]
        precisions = list(dict.fromkeys(one["precision"] for one in here))
        columns = [(precision, scope) for precision in precisions for scope in ("prefix", "segments")]
        found = {(one["exit"], one["precision"], one["scope"]): one for one in here}
        for exit, row in enumerate(rows, 1):
            cells = [found[(exit, *column)] for column in columns]
            assert "≥ 0.0000" not in " ".join(row)
            assert row[1:] == [f"≥ {least_milliseconds(cell['floor_ms'])} {cell['bound']}" for cell in cells]
        for figure in device["peak_flops"].values():
            assert chromium.execute_script("return document.body.textContent.includes(arguments[0])", figure["source"])


@pytest.fixture
def own_spec(tmp_path: Path) -> Path:
    """A device without on-chip memory and with one precision, whose name is markup."""
    path = tmp_path / "own.yaml"
    path.write_text(
        "name: <b>board</b>\npeak_flops: {fp16: {value: 17.0e9, source: measured & noted}}\n"
        "memory_bandwidth: {value: 1.0e9, source: measured}\n"
    )
    return path


def test_without_counts_the_page_says_why(chromium: Any, page: Path) -> None:
    open_page(chromium, page)
    assert chromium.execute_script("return document.querySelectorAll('table.counts, table.floors').length") == 0
    assert "has no network to count" in chromium.page_source


def test_a_bundle_is_shown_on_the_images_given(
    chromium: Any, own_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(5).integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
    np.savez("mine.npz", x_test=images, y_test=np.arange(30) % 2)
    options = ("--repeats", 3, "--threads", 1, "--quiet", "--images", 7, "--output", "out")
    result = invoke(profile, own_bundle, *options, "--data", "mine.npz")
    assert result.exit_code == 0, result.output
    assert "accuracies are of 30 images of the images given (mine.npz)" in result.stdout
    found = json.loads(Path("out/profile.json").read_text())
    open_page(chromium, Path("out/report.html"))
    assert console_errors(chromium) == []
    assert "30 images of the images given (mine.npz)" in text(chromium, "scored-0")
    assert text(chromium, "classes-source") == "the images given (mine.npz)"
    slider = chromium.find_element(By.ID, "threshold-1")
    slider.send_keys(Keys.HOME)
    assert text(chromium, "figure-shares").startswith("100.0")
    assert text(chromium, "figure-accuracy") == percent(found["exits"][0]["accuracy"], 2)
    assert chromium.execute_script("return document.querySelectorAll('.images img').length") > 0
    rows = list(csv.DictReader(Path("out/curves.csv").read_text().splitlines()))
    assert {(row["split"], row["data"]) for row in rows} == {("images", "mine.npz")}
    assert {row["images"] for row in rows if row["provenance"] == "measured"} == {"7"}
    assert {row["images"] for row in rows if row["provenance"] == "simulated"} == {"30"}


def test_a_bundle_without_a_calibration_split_is_shown_on_the_images_given(
    chromium: Any, own_bundle: Path, tmp_path: Path
) -> None:
    from edgemate.bundle import CALIBRATION_FILE, Bundle
    from edgemate.profiling import profile_bundle
    from edgemate.runtime.labeled import LabeledImages

    opened = Bundle.open(own_bundle)
    listed = {name: one for name, one in opened.manifest.files.items() if name != CALIBRATION_FILE}
    lean = Bundle(own_bundle, opened.manifest.model_copy(update={"files": listed}))
    images = np.random.default_rng(5).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    data = LabeledImages(list(images), np.arange(9) % 2)
    found = profile_bundle(lean, tmp_path / "out", data=data, threads=1, repeats=2)
    path = tmp_path / "page.html"
    write_report([lean], [found.to_json()], path, tmp_path / "curves", [found.scored])
    open_page(chromium, path)
    assert console_errors(chromium) == []
    assert "no logits of a calibration split" in text(chromium, "scored-0")
    assert chromium.execute_script("return document.getElementById('calibrate-line').hidden")


def test_several_runs_are_overlaid(chromium: Any, page: Path, profiled: Run, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    other = Run(Path(shutil.copytree(profiled.path, tmp_path / "other")))
    profiles = [json.loads(run.profile_path.read_text()) for run in (profiled, other)]
    path = tmp_path / "both.html"
    write_report([profiled, other], profiles, path, tmp_path / "both")
    open_page(chromium, path)
    assert console_errors(chromium) == []
    chromium.find_element(By.CSS_SELECTOR, "#subject option[value='1']").click()
    assert str(other.path) in text(chromium, "evaluate")
    assert chromium.execute_script("return document.querySelectorAll('[data-subject=\"0\"]:not([hidden])').length") == 0


def test_networks_of_different_classes_are_overlaid_with_a_warning(
    chromium: Any, profiled: Run, tmp_path: Path
) -> None:
    other = Run(Path(shutil.copytree(profiled.path, tmp_path / "fewer")))
    metadata = json.loads(other.metadata_path.read_text())
    metadata["classes"] = metadata["classes"][:4]
    other.metadata_path.write_text(json.dumps(metadata))
    for split in ("calibration", "test"):
        logits, labels = other.read_logits(split)  # type: ignore[arg-type]
        other.write_logits(split, logits[..., :4], labels % 4)  # type: ignore[arg-type]
    profile = json.loads(profiled.profile_path.read_text())
    path = tmp_path / "both.html"
    write_report([profiled, other], [profile, profile], path, tmp_path / "both")
    open_page(chromium, path)
    assert console_errors(chromium) == []
    said = chromium.execute_script("return document.querySelector('.warning').textContent")
    assert f"({profiled.name} 10 classes, fewer 4 classes)" in said


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_shows_it_without_scrolling_sideways(page: Path, dark: bool) -> None:
    with browser(360, 740, dark=dark) as driver:
        open_page(driver, page)
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 360
        beyond = driver.execute_script(
            "return [...document.querySelectorAll('main *')].filter((one) => !one.closest('.scroll, .unseen')"
            " && one.getBoundingClientRect().right > 360.5).map((one) => one.outerHTML.slice(0, 80))"
        )
        assert beyond == []
        assert console_errors(driver) == []


CONTRAST = """
const parse = (color) => color.match(/[\\d.]+/g).map(Number);
const light = (color) => {
  const [r, g, b] = color.slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element) => {
  for (let one = element; one; one = one.parentElement) {
    const color = parse(getComputedStyle(one).backgroundColor);
    if (color.length === 3 || color[3] > 0) return color;
  }
  return parse(getComputedStyle(document.documentElement).backgroundColor);
};
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim() !== "");
  if (!own || element.offsetParent === null || element.closest("script, style, option")) continue;
  const [one, other] = [light(parse(getComputedStyle(element).color)), light(behind(element))].sort((a, b) => b - a);
  const ratio = (one + 0.05) / (other + 0.05);
  if (ratio < 4.5) found.push([ratio, element.outerHTML.slice(0, 80)]);
}
return found;
"""


def test_text_has_contrast_in_both_themes(chromium: Any, page: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    open_page(chromium, page)
    backgrounds = []
    for _ in range(2):
        assert chromium.execute_script(CONTRAST) == []
        backgrounds.append(chromium.execute_script("return getComputedStyle(document.body).backgroundColor"))
        chromium.find_element(By.ID, "theme").send_keys(Keys.ENTER)
    assert backgrounds[0] != backgrounds[1]


def test_names_stay_text(chromium: Any, profiled: Run, tmp_path: Path) -> None:
    attack = "</script><img src=x onerror=document.title='hacked'>"
    run = Run(Path(shutil.copytree(profiled.path, tmp_path / "run & <b>bold<")))
    metadata = json.loads(run.metadata_path.read_text())
    metadata["classes"][0] = attack
    metadata["cuts"][0] = "<i>cut</i>"
    run.metadata_path.write_text(json.dumps(metadata))
    profile = json.loads(run.profile_path.read_text())
    profile["warnings"] = [attack]
    profile["machine"]["processor"] = attack
    path = tmp_path / "page.html"
    write_report([run], [profile], path, tmp_path / "curves")
    open_page(chromium, path)
    assert console_errors(chromium) == []
    assert "hacked" not in chromium.title
    assert chromium.execute_script("return document.querySelectorAll('main i, main b, img[src=x]').length") == 0
    names = chromium.execute_script(
        "return [...document.querySelectorAll('#classes th')].map((one) => one.textContent)"
    )
    assert attack in names
    assert attack in text(chromium, "environment-table")
