"""The graph that decides itself, over the fake device: what is captured where, in which order, and what it answers."""

from __future__ import annotations

import gc
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_network
from bundles import write_small_bundle
from fake_conditional import FakeConditionalCuda, FakeDriver
from fake_cuda import FakeCuda, cudaError_t
from fake_engine import fake_tensorrt, write_engines

from edgemate.bundle import Bundle
from edgemate.errors import BackendError, UsageError
from edgemate.policies import Confidence, Deadline, Entropy, FixedExit, Margin, Patience, Policy
from edgemate.policies.single import StopRule
from edgemate.runtime import AnytimeClassifier
from edgemate.runtime.backends.tensorrt import backend as module
from edgemate.runtime.backends.tensorrt import deciding, kernel
from edgemate.runtime.backends.tensorrt.backend import TensorRTBackend
from edgemate.runtime.backends.tensorrt.compat import TensorRT
from edgemate.runtime.backends.tensorrt.cuda import Cuda

pytestmark = pytest.mark.usefixtures("quick_collection")

RULE = StopRule("confidence", (0.5, 0.5), (1.0, 1.0))
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
TREE = ["segments 2", "decide 2", ["segments 3", "decide 3"]]
POLICIES: list[Policy | None] = [
    None,
    *(FixedExit(exit) for exit in (1, 2, 3)),
    *(Confidence(threshold) for threshold in (0.0, 0.6, 0.9, 1.0)),
    Confidence([0.95, 0.4], temperature=[0.5, 2.0]),
    *(Entropy(threshold) for threshold in (0.0, 0.3, 1.0)),
    Entropy([0.2, 0.9], temperature=1.5),
    *(Margin(threshold) for threshold in (0.0, 0.5, 0.9)),
    *(Patience(times) for times in (1, 2)),
]


@dataclass
class Fake:
    cuda: FakeConditionalCuda
    driver: FakeDriver
    trt: TensorRT
    bundle: Bundle
    version: int = 12060

    def open(self, **options: Any) -> TensorRTBackend:
        return TensorRTBackend(self.bundle, layout="segments", threads=None, **options)

    def forget(self) -> None:
        for journal in (self.cuda.calls, self.cuda.done, self.trt.module.ran):
            journal.clear()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    bundle = write_small_bundle(tmp_path_factory.mktemp("bundles") / "deciding")
    write_engines(bundle, ("segments",), fake_tensorrt(FakeCuda()), "1:4:32")
    return bundle


@pytest.fixture
def fake(written: Bundle, monkeypatch: pytest.MonkeyPatch) -> Fake:
    cuda = FakeConditionalCuda()
    found = Fake(cuda, FakeDriver(cuda), fake_tensorrt(cuda), written)
    monkeypatch.setattr(module, "load_tensorrt", lambda flavour: found.trt)
    monkeypatch.setattr(module.Cuda, "load", lambda: Cuda(found.cuda, found.version))
    monkeypatch.setattr(kernel, "open_driver", lambda: found.driver)
    return found


@pytest.fixture(scope="module")
def golden(written: Bundle):
    return written.golden()


@pytest.mark.parametrize("zero_copy", [False, True])
def test_each_segment_is_in_the_body_behind_the_decision_before_it(fake: Fake, zero_copy: bool) -> None:
    fake.open(zero_copy=zero_copy)
    copies = (["upload"], ["download"]) if not zero_copy else ([], [])
    assert fake.cuda.parts[0].tree() == [*copies[0], "segments 1", "decide 1", TREE, *copies[1]]
    assert fake.cuda.calls.count("cudaStreamBeginCaptureToGraph") == (5 if not zero_copy else 3)


@pytest.mark.parametrize("zero_copy", [False, True])
@pytest.mark.parametrize("exit", [1, 2, 3])
def test_an_image_is_one_launch_and_one_wait_and_later_segments_do_not_run(
    fake: Fake, golden, zero_copy: bool, exit: int
) -> None:
    backend = fake.open(zero_copy=zero_copy)
    with AnytimeClassifier(fake.bundle, backend) as classifier:
        fake.forget()
        [answer] = classifier.classify(golden.images[0], FixedExit(exit))
        assert fake.cuda.calls == ["cudaGraphLaunch", "cudaStreamSynchronize"]
        assert fake.trt.module.ran == [(number, 1) for number in range(1, exit + 1)]
        copied = [name for name in fake.cuda.done if name.endswith("load")]
        assert copied == ([] if zero_copy else ["upload", "download"])
        assert answer.exit == exit
        np.testing.assert_allclose(answer.logits, golden.logits[0, exit - 1], **CLOSE)


def test_every_policy_stops_where_it_does_on_the_host_without_another_graph(fake: Fake, golden) -> None:
    with (
        AnytimeClassifier(fake.bundle, fake.open(decide="device")) as device,
        AnytimeClassifier(fake.bundle, fake.open(decide="host")) as host,
    ):
        graphs = len(fake.cuda.parts)
        seen = set()
        for policy in POLICIES:
            for image in golden.images[:8]:
                [found], [expected] = device.classify(image, policy), host.classify(image, policy)
                assert found.exit == expected.exit, policy
                assert (found.index, found.label) == (expected.index, expected.label)
                assert found.probability == pytest.approx(expected.probability)
                np.testing.assert_allclose(found.logits, expected.logits, **CLOSE)
                seen.add(found.exit)
        assert seen == {1, 2, 3}
        assert device.statistics() == host.statistics()
        assert len(fake.cuda.parts) == graphs


def test_logits_that_are_no_numbers_stop_nothing_and_are_counted(
    fake: Fake, golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, host = fake.open(decide="device"), fake.open(decide="host")
    compute = small_network.run

    def spoiled(stages: Any, tensors: Any, **options: Any) -> Any:
        found = compute(stages, tensors, **options)
        if 1 in stages:
            found["logits_1"] = np.full_like(found["logits_1"], np.nan)
        return found

    monkeypatch.setattr(small_network, "run", spoiled)
    for policy in (Confidence(0.0), Patience(1), FixedExit(1)):
        with AnytimeClassifier(fake.bundle, device) as one, AnytimeClassifier(fake.bundle, host) as other:
            [found], [expected] = one.classify(golden.images[0], policy), other.classify(golden.images[0], policy)
            assert found.exit == expected.exit > 1
            assert one.non_finite == other.non_finite == 1
            monkeypatch.setattr(one.backend, "close", lambda: None)
            monkeypatch.setattr(other.backend, "close", lambda: None)


@pytest.mark.parametrize(
    "policy", [Deadline(1e6, segment_ms=[1, 1, 1]), Deadline(1e6, segment_ms=[1] * 3, inner=Margin(0.5))]
)
def test_other_policies_decide_on_the_host(fake: Fake, golden, policy: Policy) -> None:
    with AnytimeClassifier(fake.bundle, fake.open()) as classifier:
        fake.forget()
        classifier.classify(golden.images[0], policy)
        assert "decide 1" not in fake.cuda.done
        fake.forget()
        classifier.classify(golden.images[0], Confidence(0.5))
        assert "decide 1" in fake.cuda.done


def test_several_images_go_through_the_segments(fake: Fake, golden) -> None:
    with AnytimeClassifier(fake.bundle, fake.open()) as classifier:
        answers = classifier.classify(golden.images[:5], FixedExit(2))
    np.testing.assert_allclose([answer.logits for answer in answers], golden.logits[:5, 1], **CLOSE)


def test_where_the_last_exit_has_no_answer_an_earlier_one_answers(
    fake: Fake, golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = fake.open()
    compute = small_network.run

    def spoiled(stages: Any, tensors: Any, **options: Any) -> Any:
        found = compute(stages, tensors, **options)
        if 3 in stages:
            found["logits_3"] = np.full_like(found["logits_3"], np.nan)
        return found

    monkeypatch.setattr(small_network, "run", spoiled)
    with AnytimeClassifier(fake.bundle, backend, on_failure="degrade") as classifier:
        [answer] = classifier.classify(golden.images[0])
    assert (answer.exit, answer.degraded) == (2, True)
    np.testing.assert_allclose(answer.logits, golden.logits[0, 1], **CLOSE)


def test_a_policy_that_does_not_fit_is_refused_as_ever(fake: Fake, golden) -> None:
    with AnytimeClassifier(fake.bundle, fake.open()) as classifier:
        with pytest.raises(UsageError, match="4 asked for"):
            classifier.classify(golden.images[0], FixedExit(4))
        with pytest.raises(UsageError, match="threshold has 3 numbers"):
            classifier.classify(golden.images[0], Confidence([0.1, 0.2, 0.3]))
        [answer] = classifier.classify(golden.images[0], FixedExit(2))
        assert answer.exit == 2


def test_threads_share_the_graph_and_each_gets_its_own_answer(fake: Fake, golden) -> None:
    with AnytimeClassifier(fake.bundle, fake.open()) as classifier:
        answers: dict[int, list[Any]] = {}

        def work(row: int) -> None:
            policy = FixedExit(1 + row % 3)
            answers[row] = [classifier.classify(golden.images[row], policy)[0] for _ in range(8)]

        threads = [threading.Thread(target=work, args=(row,)) for row in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for row, found in answers.items():
        for answer in found:
            np.testing.assert_allclose(answer.logits, golden.logits[row, row % 3], **CLOSE)


def test_closing_gives_everything_back(fake: Fake, golden) -> None:
    backend = fake.open()
    answering = backend.answering(RULE)
    assert answering is not None
    answering(golden.images[:1])
    assert backend.metadata()["decides"] == "on the device"
    backend.close()
    gc.collect()
    assert not fake.cuda.held()
    assert fake.driver.modules == 0
    with pytest.raises(BackendError, match="was closed"):
        answering(golden.images[:1])


def test_closing_waits_for_an_answer_under_way(fake: Fake, golden, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = fake.open(decide="device")
    answering = backend.answering(RULE)
    assert answering is not None
    launched, go_on, found = threading.Event(), threading.Event(), []
    launch = Cuda.launch

    def slow(cuda: Cuda, graph: Any, stream: Any) -> None:
        launched.set()
        assert go_on.wait(30)
        launch(cuda, graph, stream)

    monkeypatch.setattr(Cuda, "launch", slow)
    answers = threading.Thread(target=lambda: found.append(answering(golden.images[:1])))
    closes = threading.Thread(target=backend.close)
    answers.start()
    assert launched.wait(30)
    closes.start()
    closes.join(0.1)
    held = closes.is_alive() and fake.driver.modules == 1
    go_on.set()
    answers.join()
    closes.join()
    assert held
    np.testing.assert_allclose(found[0].logits, golden.logits[0, found[0].exit - 1], **CLOSE)
    assert fake.driver.modules == 0


def test_a_backend_that_nobody_closes_gives_the_graph_back(fake: Fake) -> None:
    backend = fake.open(decide="device")
    assert fake.driver.modules == 1
    del backend
    gc.collect()
    assert fake.driver.modules == 0


# Where it is not possible, all goes on as without it.


def assert_on_host(fake: Fake, golden, why: str) -> None:
    backend = fake.open()
    assert backend.decides_on_host is not None
    assert why in backend.decides_on_host
    assert "\n" not in backend.decides_on_host
    assert "decides" not in backend.metadata()
    assert backend.answering(RULE) is None
    with AnytimeClassifier(fake.bundle, backend) as classifier:
        [answer] = classifier.classify(golden.images[0], FixedExit(2))
        np.testing.assert_allclose(answer.logits, golden.logits[0, 1], **CLOSE)
    gc.collect()
    assert not fake.cuda.held()
    assert fake.driver.modules == 0
    with pytest.raises(BackendError, match=r"^decide: 'device' is not possible here: "):
        fake.open(decide="device")
    gc.collect()
    assert not fake.cuda.held()


@pytest.mark.parametrize(
    ("version", "driver", "why"),
    [
        (12020, 12060, "the runtime is of CUDA 12.2; conditional nodes need 12.4"),
        (12060, 12030, "the driver is of CUDA 12.3; conditional nodes need 12.4"),
    ],
)
def test_an_old_cuda_decides_on_the_host(fake: Fake, golden, version: int, driver: int, why: str) -> None:
    fake.version, fake.cuda.driver = version, driver
    before = len(fake.cuda.calls)
    assert_on_host(fake, golden, why)
    assert not {"cudaGraphCreate", "cudaStreamBeginCaptureToGraph"} & set(fake.cuda.calls[before:])


def test_a_runtime_that_lacks_a_function_decides_on_the_host(
    fake: Fake, golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(FakeConditionalCuda, "cudaGraphAddNode")
    assert_on_host(fake, golden, "the runtime lacks cudaGraphAddNode")


@pytest.mark.parametrize("exit", [1, 2, 3])
def test_an_engine_that_cannot_be_captured_decides_on_the_host(fake: Fake, golden, exit: int) -> None:
    fake.trt.module.uncapturable.add(exit)
    assert_on_host(fake, golden, "cannot be run: not permitted while capturing")


@pytest.mark.parametrize(
    "name",
    [
        *("cudaGraphCreate", "cudaGraphConditionalHandleCreate", "cudaGraphAddNode"),
        *("cudaStreamBeginCaptureToGraph", "cudaStreamGetCaptureInfo"),
    ],
)
def test_whatever_cannot_be_made_decides_on_the_host(fake: Fake, golden, name: str) -> None:
    fake.cuda.fails[name] = cudaError_t.cudaErrorStreamCaptureUnsupported
    assert_on_host(fake, golden, f"CUDA: {name} failed: cudaErrorStreamCaptureUnsupported (what it means)")


@pytest.mark.parametrize("name", ["cuModuleLoadData", "cuModuleGetFunction", "cuLaunchKernel"])
def test_a_driver_that_does_not_take_the_kernel_decides_on_the_host(fake: Fake, golden, name: str) -> None:
    fake.driver.fails.add(name)
    assert_on_host(fake, golden, f"CUDA: {name} failed: CUDA_ERROR_UNSUPPORTED_PTX_VERSION what it means")


def test_without_the_drivers_library_it_decides_on_the_host(
    fake: Fake, golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(kernel, "open_driver", missing)
    assert_on_host(fake, golden, "libcuda, the driver's library, cannot be used (libcuda.so.1")


def test_engines_for_several_images_decide_on_the_host(
    fake: Fake, golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.bundle = write_small_bundle(tmp_path / "four")
    write_engines(fake.bundle, ("segments",), fake.trt, "4")
    assert_on_host(fake, golden, "segment_1.engine: takes 4 images or more, not one")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda handle, stop: 1, "answers at exit"),  # never stops where it should
        (lambda handle, stop: 0, "answers at exit"),
    ],
)
def test_a_graph_that_goes_wrong_is_found_at_load_and_not_used(
    fake: Fake, golden, monkeypatch: pytest.MonkeyPatch, wrong: Any, why: str
) -> None:
    decide = FakeDriver._decide

    def broken(driver: FakeDriver, handle: int, *rest: int) -> None:
        decide(driver, handle, *rest)
        if handle in driver.cuda.conditions:
            driver.cuda.conditions[handle] = wrong(handle, None)

    monkeypatch.setattr(FakeDriver, "_decide", broken)
    assert_on_host(fake, golden, why)


def test_scores_that_are_not_the_policies_are_found_at_load(
    fake: Fake, golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    import decision_reference

    score = decision_reference.score
    monkeypatch.setattr(
        decision_reference, "score", lambda scaled, name: score(scaled, "margin" if name == "entropy" else name)
    )
    assert_on_host(fake, golden, "under entropy <")


def test_wrong_logits_are_found_at_load(fake: Fake, golden, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = deciding.DecidingGraph.answer
    monkeypatch.setattr(
        deciding.DecidingGraph,
        "answer",
        lambda graph, *given: (found := answer(graph, *given))._replace(logits=found.logits + 1000),
    )
    assert_on_host(fake, golden, "its logits of exit 1 are not those of the segments")


def test_without_cuda_graphs_and_speculating_it_decides_on_the_host_unless_it_is_asked_for(fake: Fake) -> None:
    assert "decides" not in fake.open(speculate=True).metadata()
    assert "decides" not in fake.open(cuda_graphs=False).metadata()
    assert fake.open(cuda_graphs=False, decide="device").metadata()["decides"] == "on the device"
    assert "decides" not in fake.open(decide="host").metadata()
    with pytest.raises(UsageError, match="decide: must be 'auto' or 'device' or 'host', not 'gpu'"):
        fake.open(decide="gpu")
