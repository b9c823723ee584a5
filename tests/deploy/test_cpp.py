"""deploy/cpp, compiled and run where a compiler and ONNX Runtime's headers are: it answers as the classifier does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bundles import golden_images, write_small_bundle
from scripts import ROOT, load_script

from edgemate.bundle import Bundle
from edgemate.calibration import read_operating_points
from edgemate.calibration.operating_points import ExitTemperature, OperatingPoint, write_operating_points
from edgemate.errors import UsageError
from edgemate.policies import Confidence, Entropy, FixedExit, Margin, Patience
from edgemate.runtime import AnytimeClassifier

FOLDER = ROOT / "deploy" / "cpp"
HEADER = "onnxruntime_cxx_api.h"
HEADERS = ("/usr/include/onnxruntime", "/usr/local/include/onnxruntime", "/usr/include", "/usr/local/include")
POLICIES = {
    "confidence": Confidence((0.6, 0.95)),
    "entropy": Entropy((0.4, 0.8)),
    "margin": Margin(0.5),
    "fixed": FixedExit(2),
    "patience": Patience(1),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    made = write_small_bundle(tmp_path_factory.mktemp("bundles") / "small")
    old = read_operating_points(made)
    unread = {"nll_before": 1.0, "nll_after": 1.0, "ece_before": 0.0, "ece_after": 0.0}
    points = [OperatingPoint.of(name, one, expected=old.points[0].expected) for name, one in POLICIES.items()]
    fitted = [ExitTemperature(exit=k, temperature=t, **unread) for k, t in enumerate((2.0, 0.5, 1.5), start=1)]
    return write_operating_points(made, old.model_copy(update={"points": tuple(points), "temperatures": tuple(fitted)}))


def lines(bundle: Bundle, policy: str) -> list[str]:
    return list(load_script("deploy/cpp/flat_manifest.py").flat_manifest(bundle, policy))


@pytest.mark.parametrize("policy", ["nope", "patience"])
def test_a_manifest_is_written_whole_or_not_at_all(bundle: Bundle, policy: str) -> None:
    command = [sys.executable, FOLDER / "flat_manifest.py", bundle.path, "--policy", policy]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled example, with the library of the Python package."""
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    onnxruntime = pytest.importorskip("onnxruntime")
    places = [Path(place) for place in (os.environ.get("ONNXRUNTIME_INCLUDE", ""), *HEADERS) if place]
    headers = next((place for place in places if (place / HEADER).is_file()), None)
    if headers is None:
        pytest.skip(f"needs ONNX Runtime's headers: the folder of {HEADER} in $ONNXRUNTIME_INCLUDE")
    found = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*"))
    if not found:
        pytest.skip("needs a libonnxruntime.so; this onnxruntime has none")
    folder = tmp_path_factory.mktemp("built")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / name).symlink_to(found[-1])
    words = [compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", "-isystem", headers, FOLDER / "main.cpp"]
    linked = ["-o", folder / "edgemate", f"-L{folder}", "-lonnxruntime", f"-Wl,-rpath,{folder}"]
    made = subprocess.run([*map(str, [*words, *linked])], capture_output=True, text=True, timeout=120, check=False)
    assert made.returncode == 0, made.stderr
    return folder / "edgemate"


@pytest.mark.parametrize("policy", [name for name in POLICIES if name != "patience"])
def test_it_answers_as_the_classifier_does(program: Path, bundle: Bundle, policy: str, tmp_path: Path) -> None:
    images = golden_images(40, seed=5)
    images.tofile(tmp_path / "images")
    (tmp_path / "manifest").write_text("\n".join(lines(bundle, policy)) + "\n")
    words = [program, bundle.path, tmp_path / "manifest", tmp_path / "images", "--logits"]
    ran = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stderr == ""
    rows = [line.split("\t") for line in ran.stdout.splitlines()]
    with AnytimeClassifier.load(bundle, threads=1) as classifier:
        expected = [classifier.classify(image, policy)[0] for image in images]
    assert len({prediction.exit for prediction in expected}) > 1 or policy == "fixed"
    assert [int(row[0]) for row in rows] == [prediction.exit for prediction in expected]
    assert [row[1] for row in rows] == [prediction.label for prediction in expected]
    np.testing.assert_allclose([float(row[2]) for row in rows], [one.probability for one in expected], rtol=1e-5)
    logits = np.array([row[3:] for row in rows], dtype=np.float64).astype(np.float32)
    np.testing.assert_array_equal(logits, np.stack([prediction.logits for prediction in expected]))


def test_what_is_wrong_is_one_line(program: Path, bundle: Bundle, tmp_path: Path) -> None:
    good = "\n".join(lines(bundle, "margin")) + "\n"
    (tmp_path / "images").write_bytes(bytes(3 * 8 * 8 * 4 + 1))
    for text, message in (
        (good.replace("scale", "scales"), "unknown line: scales"),
        (good.replace("segment_3", "segment_9"), "segment_9.onnx"),
        ("", "has not one segment"),
        (good.replace("classes 4", "classes 40"), "has fewer labels than classes"),
        (good, "ends within an image"),
    ):
        (tmp_path / "manifest").write_text(text)
        words = [program, bundle.path, tmp_path / "manifest", tmp_path / "images"]
        ran = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode == 2
        assert message in ran.stderr
        assert ran.stderr.startswith("error: ")
        assert ran.stderr.count("\n") == 1


def test_the_lines_are_those_of_the_bundle(bundle: Bundle) -> None:
    found = lines(bundle, "confidence")
    assert found[:2] == ["input 3 8 8", "normalize 255.0 0.5 0.45 0.4 0.25 0.2 0.3"]
    assert found[2:7] == ["classes 4", *bundle.manifest.classes]
    assert found[7:10] == ["segment onnx/segment_1.onnx", "takes image", "gives logits_1 fine coarse"]
    assert found[-3:] == ["temperature 2.0 0.5 1.5", "stop confidence 0.6 0.95", "scale 2.0 0.5"]
    assert lines(bundle, "fixed")[-2:] == ["stop confidence 1.0 0.0", "scale 1.0 1.0"]
    with pytest.raises(UsageError, match="is patience; this example knows"):
        lines(bundle, "patience")


def test_a_bundle_without_segments_is_refused(bundle: Bundle) -> None:
    graphs = {"prefixes": bundle.manifest.graphs["prefixes"]}
    without = SimpleNamespace(path=bundle.path, manifest=bundle.manifest.model_copy(update={"graphs": graphs}))
    with pytest.raises(UsageError, match="has no segments, only prefixes; export it with them"):
        lines(without, "margin")  # type: ignore[arg-type]


def test_the_script_says_what_is_wrong(tmp_path: Path) -> None:
    script = str(FOLDER / "flat_manifest.py")
    ran = subprocess.run(
        [sys.executable, script, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 2
    assert ran.stderr == f"error: {tmp_path}: not a bundle: it has no bundle.json\n"
