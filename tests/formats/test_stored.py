"""What earlier versions wrote stays readable: files in this folder, which no version writes anew.

`docs/formats.md` lists the formats. A change that breaks one of these tests needs another format version, and a reader
of this one or a message that says what to do.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgemate.bundle import Bundle
from edgemate.bundle.manifest import FORMAT_VERSION as BUNDLE_FORMAT
from edgemate.calibration import calibrate_bundle, read_operating_points
from edgemate.calibration.operating_points import FORMAT_VERSION as POLICIES_FORMAT
from edgemate.errors import BundleError, EdgemateError, RunError
from edgemate.latency_tables import FORMAT_VERSION as LATENCY_FORMAT
from edgemate.latency_tables import read_latency_table
from edgemate.monitoring.statistics import FORMAT_VERSION as STATISTICS_FORMAT
from edgemate.runs import Run
from edgemate.runs.folder import FORMAT_VERSION as RUN_FORMAT
from edgemate.runtime.backends.tensorrt.engine_metadata import FORMAT_VERSION as ENGINE_FORMAT

STORED = Path(__file__).parent
DOCUMENT = STORED.parents[1] / "docs" / "formats.md"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STORED / "bundle-2", tmp_path / "bundle"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STORED / "run-2", tmp_path / "run"))


def test_a_bundle_opens_with_all_that_is_in_it(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    assert len(opened.manifest.exits) == 3
    assert read_operating_points(opened).names() == ["fast", "balanced", "accurate", "full"]
    assert read_latency_table(opened, "here").repeats == 2
    assert len(opened.golden().images) == len(opened.calibration().labels) == 24


def test_a_bundle_answers_as_it_did(bundle: Path) -> None:
    pytest.importorskip("onnxruntime")
    from edgemate.runtime import AnytimeClassifier

    golden = Bundle.open(bundle).golden()
    with AnytimeClassifier.load(bundle, threads=1) as classifier:
        answers = classifier.classify(golden.images)
    assert [answer.index for answer in answers] == golden.logits[:, -1].argmax(axis=1).tolist()


def test_a_bundle_can_be_calibrated(bundle: Path) -> None:
    calibrate_bundle(bundle)
    assert read_operating_points(Bundle.open(bundle)).names() == ["fast", "balanced", "accurate", "full"]


def test_a_run_opens_with_all_that_is_in_it(run: Path) -> None:
    pytest.importorskip("torch")
    opened = Run.open(run)
    assert opened.read_recipe().distillation.method == "joint_ce"
    assert len(opened.read_metadata().cuts) == 3
    for split in ("calibration", "test"):
        logits, labels = opened.read_logits(split)  # type: ignore[arg-type]
        accuracy = (logits.argmax(axis=2) == labels[:, None]).mean(axis=0)
        np.testing.assert_allclose(accuracy, opened.read_metrics()["accuracy"][split]["exits"])


def test_the_network_of_a_run_gives_the_logits_that_it_gave(run: Path) -> None:
    torch = pytest.importorskip("torch")
    from edgemate.evaluation import trained_model

    opened = Run.open(run)
    images = opened.read_golden().images
    with torch.inference_mode():
        logits = trained_model(opened)(torch.from_numpy(images)).numpy()
    assert logits.shape[0] == len(images)
    assert np.isfinite(logits).all()
    whole = opened.read_logits("test")
    labels = opened.read_golden().labels
    assert (logits.argmax(axis=2) == labels[:, None]).mean() == pytest.approx(
        (whole.logits.argmax(axis=2) == whole.labels[:, None]).mean(), abs=0.15
    )


def test_a_profile_is_compared_with(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from edgemate.profiling.stored_profile import read_stored_profile

    assert len(read_stored_profile(STORED / "profile-1" / "profile.json").exits) == 3


@pytest.mark.parametrize(("version", "says"), [(1, "older edgemate (format 1)"), (99, "newer edgemate (format 99)")])
def test_other_formats_are_refused_in_one_line_that_says_what_to_do(
    bundle: Path, run: Path, version: int, says: str
) -> None:
    for folder, file, opened, error in (
        (bundle, "bundle.json", Bundle.open, BundleError),
        (run, "metadata.json", Run.open, RunError),
    ):
        content = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**content, "format_version": version}))
        with pytest.raises(error) as caught:
            opened(folder)
        assert isinstance(caught.value, EdgemateError)
        assert says in str(caught.value)
        assert str(caught.value).count("\n") == 0
        remedy = "upgrade edgemate" if version == 99 else "again"
        assert remedy in str(caught.value)


def test_the_document_names_the_formats_that_are_written() -> None:
    rows = re.findall(r"^\| ([a-z ]+) \|[^|]*\| (\d+) \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    from edgemate.profiling.profile_result import FORMAT_VERSION as PROFILE_FORMAT

    assert {name: int(version) for name, version in rows} == {
        "bundle": BUNDLE_FORMAT,
        "operating points": POLICIES_FORMAT,
        "latency table": LATENCY_FORMAT,
        "engine": ENGINE_FORMAT,
        "run": RUN_FORMAT,
        "profile": PROFILE_FORMAT,
        "statistics": STATISTICS_FORMAT,
    }
