"""Everything that only a GPU can show: `-m gpu`, on a machine with TensorRT."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from backends import BATCH, load_real_tensorrt
from built_here import record_as_built
from bundles import write_small_bundle

from edgemate import files
from edgemate.bundle import Bundle
from edgemate.errors import BackendError
from edgemate.policies import Confidence, Entropy, FixedExit, Margin, Patience, Policy
from edgemate.registry import BACKENDS
from edgemate.runtime import AnytimeClassifier
from edgemate.runtime.backends.tensorrt import first_load
from edgemate.runtime.backends.tensorrt.builder import build_bundle_engines
from edgemate.runtime.backends.tensorrt.options import BatchRange, BuildOptions
from edgemate.runtime.proof import default_tolerance, prove
from edgemate.sensors.nvml import Nvml

pytestmark = [pytest.mark.gpu, pytest.mark.tensorrt]


@pytest.fixture(scope="module")
def flavour() -> str:
    found: str = load_real_tensorrt().flavour
    return found


@pytest.fixture(scope="module")
def built(flavour: str, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    bundle = write_small_bundle(tmp_path_factory.mktemp("engines") / "small", conditional=True)
    options = BuildOptions(batch=BatchRange.parse(BATCH), tf32=False)
    build_bundle_engines(bundle, load_real_tensorrt(), options, layouts=("segments", "prefixes", "conditional"))
    return bundle


@pytest.mark.parametrize("layout", ["segments", "prefixes", "conditional"])
@pytest.mark.parametrize("cuda_graphs", [True, False])
def test_every_layout_is_proved_on_the_golden_samples(built: Bundle, flavour: str, layout, cuda_graphs: bool) -> None:
    backend = BACKENDS.get(flavour)(built, layout=layout, threads=None, cuda_graphs=cuda_graphs)
    try:
        proofs = prove(built, backend, layout, tolerance=default_tolerance(built), warmup=2, repeats=5)
        captured = backend.metadata()["cuda graphs"]
    finally:
        backend.close()
    possible = layout != "conditional" and load_real_tensorrt().shares_profiles  # a graph needs a context of its own
    assert captured == ("on" if cuda_graphs and possible else "off")
    assert [proof.agreement for proof in proofs] == [1.0] * 3


@pytest.mark.parametrize("speculate", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3, 24])
def test_speculation_changes_no_answer(built: Bundle, flavour: str, speculate: bool, batch_size: int) -> None:
    golden = built.golden()
    with AnytimeClassifier.load(built.path, flavour, speculate=speculate) as classifier:
        for policy in (Confidence(0.9), None):
            for answer, logits in zip(
                classifier.classify(golden.images, policy, batch_size=batch_size), golden.logits, strict=True
            ):
                np.testing.assert_allclose(answer.logits, logits[answer.exit - 1], rtol=1e-3, atol=1e-3)


@pytest.fixture(params=[False, True], ids=["copies", "zero copy"])
def deciding(request: pytest.FixtureRequest, built: Bundle, flavour: str) -> Iterator[AnytimeClassifier]:
    """Decides on the device; a CUDA older than 12.4 cannot."""
    try:
        opened = AnytimeClassifier.load(built.path, flavour, decide="device", zero_copy=request.param)
    except BackendError as error:
        if "conditional nodes need" not in str(error):
            raise
        pytest.skip(str(error))
    with opened:
        yield opened


def near_scores(logits: np.ndarray) -> Iterator[Policy]:
    """Policies whose thresholds lie between the scores of these images at each exit but the last; `(N, K, C)`."""
    early = [logits[:, exit] for exit in range(logits.shape[1] - 1)]
    for kind in (Confidence, Entropy, Margin):
        for quantile in (0.1, 0.5, 0.9):
            for temperature in (None, 1.7):
                scores = [np.sort(kind.score(one / (temperature or 1.0))) for one in early]
                places = [int(quantile * (len(one) - 1)) for one in scores]
                yield kind(
                    [float(one[at] + one[at + 1]) / 2 for one, at in zip(scores, places, strict=True)],
                    temperature=temperature,
                )
    yield from (Patience(times) for times in (1, 2))
    yield from (FixedExit(exit) for exit in range(1, logits.shape[1] + 1))


def test_the_graph_that_decides_stops_where_the_host_does(
    built: Bundle, flavour: str, deciding: AnytimeClassifier
) -> None:
    golden = built.golden()
    stopped = set()
    with AnytimeClassifier.load(built.path, flavour, decide="host") as host:
        for policy in near_scores(golden.logits):
            for image in golden.images:
                [found], [expected] = deciding.classify(image, policy), host.classify(image, policy)
                assert found.exit == expected.exit, policy.description
                np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-3, atol=1e-3)
                stopped.add(found.exit)
    assert stopped == {1, 2, 3}
    assert deciding.backend.metadata()["decides"] == "on the device"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_of_no_numbers_becomes_on_the_device_what_it_does_on_the_host(
    built: Bundle, flavour: str, deciding: AnytimeClassifier, value: float
) -> None:
    image = np.full(deciding.input.shape(1)[1:], value, np.float32)
    with AnytimeClassifier.load(built.path, flavour, decide="host") as host:
        [found], [expected] = deciding.classify(image, Confidence(0.9)), host.classify(image, Confidence(0.9))
        assert (found.exit, found.index) == (expected.exit, expected.index)
        assert deciding.non_finite == host.non_finite


def test_a_truncated_engine_is_refused(built: Bundle, flavour: str, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(built.path, tmp_path / "copy"))
    [engine] = copy.glob("engines/*/segment_2.engine")
    engine.write_bytes(engine.read_bytes()[:-1])
    with pytest.raises(BackendError, match=r"segment_2\.engine: has .* bytes"):
        AnytimeClassifier.load(copy, flavour)


def test_the_device_is_known_by_more_than_its_name() -> None:
    device = load_real_tensorrt().require_device()
    assert device.multiprocessors is not None
    assert device.multiprocessors > 0
    assert device.memory_gib is not None
    assert device.tag.endswith(f"_{device.multiprocessors}sm_{device.memory_gib}gib")


def test_engines_of_elsewhere_are_proved_at_first_load_and_remembered(
    built: Bundle, flavour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(built.path, tmp_path / "copy"))
    for beside in (copy / "engines").rglob("*.engine.json"):  # as of a build ahead of time
        none = {"gpu": None, "board": None, "multiprocessors": None, "memory_gib": None}
        files.write_json(beside, {**json.loads(beside.read_text()), **none})
    record_as_built(copy)
    monkeypatch.setattr(first_load, "first_problem", problem := Counted(first_load.first_problem))
    for _ in range(2):
        AnytimeClassifier.load(copy, flavour).close()
    assert problem.calls == 1


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: Callable[..., str | None]) -> None:
        self.function, self.calls = function, 0

    def __call__(self, *arguments: object, **named: object) -> str | None:
        self.calls += 1
        return self.function(*arguments, **named)


def test_kernels_that_were_compiled_are_kept(
    built: Bundle, flavour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if flavour != "tensorrt_rtx":
        pytest.skip("TensorRT chooses its kernels when it builds")
    kernels = load_real_tensorrt().kernels
    assert kernels is not None
    monkeypatch.setattr(kernels, "path", tmp_path / "tag.kernels")
    monkeypatch.setattr(kernels, "_kept", b"")
    AnytimeClassifier.load(built.path, flavour).close()
    assert kernels.path.stat().st_size > 0


def test_a_classifier_that_nobody_closes_gives_the_gpus_memory_back(built: Bundle, flavour: str) -> None:
    gpu = Nvml.open()
    if gpu is None or gpu.used_bytes is None:
        pytest.skip("NVML does not say how much memory is in use")

    def used_after(loads: int) -> int:
        for _ in range(loads):
            AnytimeClassifier.load(built.path, flavour)
            gc.collect()
        return gpu.used_bytes or 0

    few, many = used_after(2), used_after(10)
    assert many - few < 64 << 20, "what ten leave is no more than what two left, but for noise"
