"""The page as a file: weight, policy, embedded data."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemate.exporting import Exported
from edgemate.report.payload import subject_payload
from edgemate.report.rendering import json_in_html
from edgemate.report.sheet import Sheet
from edgemate.report.subject import NEVER, Subject
from edgemate.report.who_fixes_whom import never_right, reliability, who_fixes_whom
from edgemate.runs import Run


def subject_of(run: Run) -> Subject:
    return Subject.of(run, json.loads(run.profile_path.read_text()))


@given(st.recursive(st.text() | st.floats(allow_nan=False, allow_infinity=False), lambda inner: st.lists(inner)))
def test_json_cannot_end_its_element_and_reads_back(value: Any) -> None:
    text = json_in_html(value)
    assert "<" not in text
    assert json.loads(text) == value


def test_only_its_own_scripts_may_run(page: Path) -> None:
    html = page.read_bytes().decode()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    scripts = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    rules = policy[1].replace("&#39;", "'")
    assert rules.startswith("default-src 'none'; ")
    assert re.findall(r"'sha256-([^']*)'", rules) == digests
    assert "unsafe-eval" not in rules
    assert not re.search(r'<(?:script|img|link)[^>]* (?:src|href)="(?!data:)', html)


def test_ten_thousand_images_weigh_less_than_3_mb(profiled: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from edgemate.report import profile_page, thumbnails

    # As large as thumbnails of photographs.
    image = {"index": 0, "source": "data:image/jpeg;base64," + "A" * 4000, "named": [0, 0, 0]}
    monkeypatch.setattr(profile_page, "thumbnails", lambda *_: [image] * thumbnails.COUNT)

    sheet = Sheet.of(profiled, json.loads(profiled.profile_path.read_text()))
    subject = sheet.subject
    rows = np.arange(10_000) % subject.images
    many = replace(subject, logits=subject.logits[rows], labels=subject.labels[rows])
    html = profile_page.report_html([replace(sheet, subject=many)])
    assert len(html.encode()) < 3e6


def test_the_page_holds_confidences_and_correctness_bit_for_bit(profiled: Run) -> None:
    subject = subject_of(profiled)
    payload = subject_payload(subject, [], (0.5, 0.5))
    for k, text in enumerate(payload["confidences"]):
        assert (np.frombuffer(base64.b64decode(text), "<f4") == subject.confidences()[k]).all()
    for k, text in enumerate(payload["correct"]):
        bits = np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), bitorder="little")[: subject.images]
        assert (bits.astype(bool) == subject.correct[:, k]).all()
    for positions in payload["positions"]:
        assert positions[0] == 0
        assert positions[-1] == 1
        assert positions == sorted(set(positions))


def test_logits_that_are_not_finite_never_stop(profiled: Run) -> None:
    from dataclasses import replace

    logits = subject_of(profiled).logits.copy()
    logits[0, 0, 1] = np.nan
    found = replace(subject_of(profiled), logits=logits).confidences()
    assert found[0, 0] == NEVER
    assert (found[0, 1:] > 0).all()


def test_who_fixes_whom_by_hand() -> None:
    correct = np.array([[1, 1], [0, 1], [0, 1], [1, 0], [0, 0]], dtype=bool)
    assert who_fixes_whom(correct).tolist() == [[0, 2], [1, 0]]
    assert never_right(correct) == 1


def test_reliability_is_what_the_calibration_error_is_of(profiled: Run) -> None:
    from edgemate.core.scoring import expected_calibration_error
    from edgemate.policies import scores

    subject = subject_of(profiled)
    errors = expected_calibration_error(subject.logits, subject.labels)
    for k in range(subject.exits):
        bins = reliability(scores.max_probability(subject.logits[:, k]), subject.correct[:, k])
        assert sum(one["images"] for one in bins) == subject.images
        gaps = sum(one["images"] * abs(one["accuracy"] - one["confidence"]) for one in bins) / subject.images
        assert gaps == pytest.approx(errors[k], abs=2 / subject.images)


def test_the_files_of_the_page_are_in_the_package() -> None:
    tomllib = pytest.importorskip("tomllib")
    root = Path(__file__).parents[2]
    data = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["edgemate"]
    listed = {path for pattern in data for path in (root / "edgemate").glob(pattern)}
    assert {path for path in (root / "edgemate" / "report" / "page").rglob("*") if path.is_file()} <= listed


def test_a_bundles_report_needs_no_torch(exported: Exported, profiled: Run, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text(profiled.profile_path.read_text())
    code = f"""
import json, sys
from pathlib import Path
from edgemate.bundle import Bundle
from edgemate.report import write_report
folder = Path({str(tmp_path)!r})
profile = json.loads((folder / "profile.json").read_text())
written = write_report([Bundle.open({str(exported.bundle.path)!r})], [profile], folder / "a.html", folder / "a")
assert len(written.paths) == 5 and not written.left_out, written
assert not {{"torch", "torchvision", "onnx"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_bokeh_the_curves_are_written_all_the_same(
    profiled: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgemate.report import write_report, writing

    def missing(*_: Any) -> bytes:
        raise ModuleNotFoundError("No module named 'bokeh'", name="bokeh")

    monkeypatch.setattr(writing, "_page", missing)
    profile = json.loads(profiled.profile_path.read_text())
    written = write_report([profiled], [profile], tmp_path / "a.html", tmp_path / "a")
    assert written.left_out == {"a.html": "bokeh"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.json", "a.png", "a.svg"]
