"""The runner over a fake device that checks every call, its order and its shapes."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pytest
from bundles import write_small_bundle
from fake_cuda import FakeCuda, cudaError_t
from fake_engine import VERSIONS, fake_tensorrt, install, write_engines

from edgemate.bundle import Bundle
from edgemate.bundle.manifest import Layout
from edgemate.errors import BackendError, UsageError
from edgemate.policies import Confidence
from edgemate.runtime import AnytimeClassifier
from edgemate.runtime.backends.tensorrt.backend import TensorRTBackend, _Chain
from edgemate.runtime.backends.tensorrt.compat import TensorRT
from edgemate.runtime.backends.tensorrt.runner import MAX_GRAPHS, Lane

pytestmark = pytest.mark.usefixtures("quick_collection")

CLOSE = {"rtol": 1e-4, "atol": 1e-4}
SEGMENT = [["upload", "segments 1", "download"], ["segments 2", "download"], ["segments 3", "download"]]


@dataclass
class Fake:
    cuda: FakeCuda
    trt: TensorRT
    bundle: Bundle

    @property
    def ran(self) -> list[tuple[int, int]]:
        ran: list[tuple[int, int]] = self.trt.module.ran
        return ran

    def forget(self) -> None:
        for journal in (self.cuda.calls, self.cuda.done, self.ran):
            journal.clear()

    def open(self, layout: Layout = "segments", **options: Any) -> TensorRTBackend:
        return TensorRTBackend(self.bundle, layout=layout, threads=None, **options)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    bundle = write_small_bundle(tmp_path_factory.mktemp("bundles") / "conditional", conditional=True)
    for version in VERSIONS:
        write_engines(bundle, ("segments", "prefixes", "conditional"), fake_tensorrt(FakeCuda(), version), "1:4:32")
    return bundle


# Of those that count CUDA graphs: 8.5 allows an engine one context, and each graph needs its own.
WITH_GRAPHS = pytest.mark.parametrize("fake", VERSIONS[1:], indirect=True)


@pytest.fixture(params=VERSIONS)
def fake(request: pytest.FixtureRequest, written: Bundle, monkeypatch: pytest.MonkeyPatch) -> Fake:
    cuda = FakeCuda()
    trt = fake_tensorrt(cuda, request.param)
    install(monkeypatch, cuda, trt)
    return Fake(cuda, trt, written)


@pytest.fixture
def rebatched(fake: Fake, tmp_path: Path) -> Callable[[str], Fake]:
    """The same with engines for other batch sizes."""

    def rebatched(batch: str) -> Fake:
        bundle = write_small_bundle(tmp_path / "rebatched")
        write_engines(bundle, ("segments", "prefixes"), fake.trt, batch)
        return Fake(fake.cuda, fake.trt, bundle)

    return rebatched


def count_openings(fake: Fake) -> Callable[[], int]:
    """How many engines were deserialized since."""
    runtime, plans = fake.trt.module.Runtime, []
    deserialize = runtime.deserialize_cuda_engine
    runtime.deserialize_cuda_engine = lambda self, plan: plans.append(plan) or deserialize(self, plan)
    return lambda: len(plans)


@pytest.fixture(scope="module")
def golden(written: Bundle):
    return written.golden()


@WITH_GRAPHS
def test_loading_runs_and_captures_one_image_and_the_tuned_batch(fake: Fake) -> None:
    fake.open()
    assert fake.ran == [(1, 1), (2, 1), (3, 1), (1, 4), (2, 4), (3, 4)]
    assert fake.cuda.calls.count("cudaGraphInstantiateWithFlags") == 6


@WITH_GRAPHS
@pytest.mark.parametrize("rows", [1, 4])
def test_a_captured_segment_is_one_launch_and_one_wait(fake: Fake, golden, rows: int) -> None:
    flow = fake.open().begin(golden.images[:rows])
    for exit in range(3):
        fake.forget()
        flow.advance()
        assert fake.cuda.calls == ["cudaGraphLaunch", "cudaEventRecord", "cudaEventSynchronize"]
        assert fake.cuda.done == SEGMENT[exit]  # images go up once, and only logits come down
        assert fake.ran == [(exit + 1, rows)]


@WITH_GRAPHS
def test_another_batch_size_runs_at_once_and_is_a_graph_the_next_time(fake: Fake, golden) -> None:
    backend = fake.open()
    for seen, expected in ((False, 1), (True, 0)):
        fake.forget()
        flow = backend.begin(golden.images[:3])
        np.testing.assert_allclose(flow.advance(), golden.logits[:3, 0], **CLOSE)
        assert fake.cuda.calls.count("cudaStreamBeginCapture") == expected
        assert fake.ran == [(1, 3)], seen  # recording it did not run it again
        del flow


@WITH_GRAPHS
def test_there_is_a_bound_on_graphs_and_beyond_it_answers_are_the_same(fake: Fake, golden) -> None:
    backend = fake.open()
    for rows in [*range(1, 20), 19, 18]:
        flow = backend.begin(golden.images[:rows])
        for exit in range(3):
            np.testing.assert_allclose(flow.advance(), golden.logits[:rows, exit], **CLOSE)
        del flow
    assert fake.cuda.calls.count("cudaGraphInstantiateWithFlags") == 3 * MAX_GRAPHS


@pytest.mark.parametrize("fake", ["8.5.3"], indirect=True)
def test_where_an_engine_may_have_one_context_each_lane_has_a_copy_of_it_and_no_graph(fake: Fake, golden) -> None:
    opened = count_openings(fake)
    backend = fake.open()
    assert backend.metadata()["cuda graphs"] == "off"
    flows = [backend.begin(golden.images[:rows]) for rows in (1, 2, 3)]
    for exit in range(3):
        for rows, flow in enumerate(flows, start=1):
            np.testing.assert_allclose(flow.advance(), golden.logits[:rows, exit], **CLOSE)
    assert opened() == 3 * 3
    del flow, flows
    for rows in range(1, 20):
        backend.begin(golden.images[:rows]).advance()
    assert opened() == 3 * 3
    backend.close()
    gc.collect()
    assert not fake.cuda.held()


@WITH_GRAPHS
def test_where_contexts_share_the_profile_an_engine_is_opened_once(fake: Fake, golden) -> None:
    opened = count_openings(fake)
    backend = fake.open()
    flows = [backend.begin(golden.images[:rows]) for rows in (1, 2, 3)]
    assert len(flows) == 3
    assert opened() == 3


@pytest.mark.parametrize("fake", ["8.5.3"], indirect=True)
def test_an_engine_of_fixed_shapes_may_have_several_contexts_in_any_version(
    fake: Fake, golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fake_engine import FakeEngine

    shape = FakeEngine.get_tensor_shape
    monkeypatch.setattr(FakeEngine, "get_tensor_shape", lambda engine, name: tuple(map(abs, shape(engine, name))))
    opened = count_openings(fake)
    backend = fake.open()
    first, second = backend.begin(golden.images[:1]), backend.begin(golden.images[1:2])
    for exit in range(3):
        np.testing.assert_allclose(first.advance(), golden.logits[:1, exit], **CLOSE)
        np.testing.assert_allclose(second.advance(), golden.logits[1:2, exit], **CLOSE)
    assert opened() == 3
    assert backend.metadata()["cuda graphs"] == "on"


def test_without_graphs_nothing_is_captured(fake: Fake, golden) -> None:
    backend = fake.open(cuda_graphs=False)
    flow = backend.begin(golden.images[:4])
    np.testing.assert_allclose(flow.advance(), golden.logits[:4, 0], **CLOSE)
    assert not any("Capture" in call or "Graph" in call for call in fake.cuda.calls)
    assert backend.metadata()["cuda graphs"] == "off"


@WITH_GRAPHS
def test_an_engine_that_cannot_be_captured_just_runs(fake: Fake, golden) -> None:
    fake.trt.module.uncapturable.add(2)
    backend = fake.open()
    for _ in range(2):
        flow = backend.begin(golden.images[:4])
        for exit in range(3):
            np.testing.assert_allclose(flow.advance(), golden.logits[:4, exit], **CLOSE)
        del flow
    assert backend.metadata()["cuda graphs"] == "not for all engines"
    backend.close()
    assert not fake.cuda.held()


def test_compaction_happens_on_the_device_and_only_for_tensors_still_needed(fake: Fake, golden) -> None:
    flow = fake.open().begin(golden.images[:4])
    flow.advance()
    fake.forget()
    flow.keep(np.array([1, 3]))
    assert fake.cuda.calls == ["cudaMemcpyAsync"] * 4  # two rows of two feature maps
    np.testing.assert_allclose(flow.advance(), golden.logits[[1, 3], 1], **CLOSE)
    assert fake.cuda.done[:5] == ["move"] * 4 + ["segments 2"]
    assert fake.ran == [(2, 2)]


def test_keeping_everyone_copies_nothing(fake: Fake, golden) -> None:
    flow = fake.open().begin(golden.images[:4])
    flow.advance()
    fake.forget()
    flow.keep(np.arange(4))
    assert fake.cuda.calls == []


@WITH_GRAPHS
def test_speculation_enqueues_the_next_segment_before_it_waits(fake: Fake, golden) -> None:
    flow = fake.open(speculate=True).begin(golden.images[:4])
    fake.forget()
    np.testing.assert_allclose(flow.advance(), golden.logits[:4, 0], **CLOSE)
    assert fake.cuda.calls == ["cudaGraphLaunch", "cudaEventRecord"] * 2 + ["cudaEventSynchronize"]
    assert fake.cuda.done == SEGMENT[0]  # and does not wait for it
    fake.forget()
    flow.keep(np.array([0, 3]))
    np.testing.assert_allclose(flow.advance(), golden.logits[[0, 3], 1], **CLOSE)
    assert fake.ran == [(2, 4)]  # as it was enqueued, before two of them left
    flow.keep(np.array([1]))
    np.testing.assert_allclose(flow.advance(), golden.logits[[3], 2], **CLOSE)
    assert fake.ran == [(2, 4), (3, 2)]


@WITH_GRAPHS
def test_a_segment_of_one_image_is_one_launch_and_one_wait(fake: Fake, golden) -> None:
    backend = fake.open()
    for row in range(3):
        flow = backend.begin_one(golden.images[row : row + 1])
        for exit in range(3):
            fake.forget()
            np.testing.assert_allclose(flow.advance(), golden.logits[row, exit], **CLOSE)
            assert fake.cuda.calls == ["cudaGraphLaunch", "cudaStreamSynchronize"]
            assert fake.cuda.done == SEGMENT[exit]
        flow.end()
    assert fake.cuda.held()["Stream"] == 1


@WITH_GRAPHS
def test_speculation_with_one_image_enqueues_the_next_segment_before_it_waits(fake: Fake, golden) -> None:
    backend = fake.open(speculate=True)
    for row in range(3):
        flow = backend.begin_one(golden.images[row : row + 1])
        fake.forget()
        np.testing.assert_allclose(flow.advance(), golden.logits[row, 0], **CLOSE)
        assert fake.cuda.calls == ["cudaGraphLaunch", "cudaEventRecord"] * 2 + ["cudaEventSynchronize"]
        if row == 2:  # given up with a segment under way, in one pass of three
            np.testing.assert_allclose(flow.advance(), golden.logits[row, 1], **CLOSE)
        flow.end()
    assert fake.cuda.held()["Stream"] == 1


def test_a_lane_is_not_given_to_another_before_its_pass_of_one_image_is_ended(fake: Fake, golden) -> None:
    backend = fake.open()
    flows = [backend.begin_one(golden.images[row : row + 1]) for row in range(3)]
    assert fake.cuda.held()["Stream"] == 3
    for row, flow in enumerate(flows):
        np.testing.assert_allclose(flow.advance(), golden.logits[row, 0], **CLOSE)
        flow.end()
    backend.begin(golden.images[:4])
    backend.begin_one(golden.images[:1]).end()
    assert fake.cuda.held()["Stream"] == 3


@pytest.mark.parametrize("speculate", [False, True])
def test_speculation_changes_no_answer(fake: Fake, golden, speculate: bool) -> None:
    with AnytimeClassifier(fake.bundle, fake.open(speculate=speculate)) as classifier:
        for policy in (Confidence(0.9), Confidence(0.6), None):
            together = classifier.classify(golden.images, policy)
            alone = [classifier.classify(image, policy)[0] for image in golden.images]
            assert [answer.exit for answer in together] == [answer.exit for answer in alone]
            for answer, image in zip(together, golden.logits, strict=True):
                np.testing.assert_allclose(answer.logits, image[answer.exit - 1], **CLOSE)


def test_more_images_than_the_engines_take_go_through_in_turn(rebatched: Callable[[str], Fake], golden) -> None:
    fake = rebatched("1:2:5")
    with AnytimeClassifier(fake.bundle, fake.open()) as classifier:
        fake.forget()
        answers = classifier.classify(golden.images)
        assert [rows for exit, rows in fake.ran if exit == 1] == [5, 5, 5, 5, 4]
    np.testing.assert_allclose([answer.logits for answer in answers], golden.logits[:, 2], **CLOSE)


@pytest.mark.parametrize("layout", ["segments", "prefixes"])
def test_fewer_images_than_the_engines_take_are_filled_up(
    rebatched: Callable[[str], Fake], golden, layout: Layout
) -> None:
    fake = rebatched("4")
    with AnytimeClassifier(fake.bundle, fake.open(layout), layout=layout) as classifier:
        for image, logits in zip(golden.images, golden.logits, strict=True):
            [answer] = classifier.classify(image)
            np.testing.assert_allclose(answer.logits, logits[2], **CLOSE)
    assert {rows for _, rows in fake.ran} == {4}


def test_too_many_images_are_refused_with_what_would_help(fake: Fake) -> None:
    with pytest.raises(BackendError, match=r"segment_1\.engine: takes .* N from 1 to 32, not .*edgemate build --batch"):
        fake.open().begin(np.zeros((33, 3, 8, 8), np.float32))


def test_a_lane_is_used_again_when_its_pass_is_gone(fake: Fake, golden) -> None:
    backend = fake.open()
    for _ in range(5):
        backend.begin(golden.images[:1]).advance()
    assert fake.cuda.held()["Stream"] == 1
    passes = [backend.begin(golden.images[row : row + 1]) for row in range(3)]
    assert fake.cuda.held()["Stream"] == 3
    for exit in range(3):
        for row, flow in enumerate(passes):
            np.testing.assert_allclose(flow.advance(), golden.logits[row : row + 1, exit], **CLOSE)


def test_threads_do_not_share_a_lane(fake: Fake, golden, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = fake.open()
    choose = _Chain.lane

    def slowly(chain: _Chain) -> Lane:
        lane = choose(chain)
        time.sleep(0.01)  # another thread's turn
        return lane

    monkeypatch.setattr(_Chain, "lane", slowly)
    passes = []
    threads = [threading.Thread(target=lambda: passes.append(backend.begin(golden.images[:1]))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passes) == fake.cuda.held()["Stream"] == 4


def test_a_pass_that_was_dropped_under_way_harms_nobody(fake: Fake, golden) -> None:
    backend = fake.open(speculate=True)
    for row in range(6):
        flow = backend.begin(golden.images[row : row + 1])
        np.testing.assert_allclose(flow.advance(), golden.logits[row : row + 1, 0], **CLOSE)
        if row % 2:
            np.testing.assert_allclose(flow.advance(), golden.logits[row : row + 1, 1], **CLOSE)
        del flow  # with the next segment on its way
    assert fake.cuda.held()["Stream"] == 1


def test_where_host_and_device_share_one_memory_nothing_is_copied(fake: Fake, golden) -> None:
    fake.cuda.integrated = True
    backend = fake.open()
    flow = backend.begin(golden.images[:4])
    fake.forget()
    np.testing.assert_allclose(flow.advance(), golden.logits[:4, 0], **CLOSE)
    flow.keep(np.array([1, 3]))
    np.testing.assert_allclose(flow.advance(), golden.logits[[1, 3], 1], **CLOSE)
    np.testing.assert_allclose(flow.advance(), golden.logits[[1, 3], 2], **CLOSE)
    assert not {"upload", "download"} & set(fake.cuda.done)
    assert fake.cuda.done.count("move") == 4  # the features stay on the device and are compacted there
    assert backend.metadata()["zero copy"] == "on"
    backend.close()
    assert not fake.cuda.held()


@pytest.mark.parametrize("layout", ["segments", "prefixes", "conditional"])
@pytest.mark.parametrize("zero_copy", [True, False])
def test_zero_copy_changes_no_answer(fake: Fake, golden, layout: Layout, zero_copy: bool) -> None:
    backend = fake.open(layout, zero_copy=zero_copy)
    with AnytimeClassifier(fake.bundle, backend, layout=layout) as classifier:
        for image, logits in zip(golden.images[:6], golden.logits, strict=False):
            [answer] = classifier.classify(image)
            np.testing.assert_allclose(answer.logits, logits[2], **CLOSE)


@pytest.mark.parametrize("layout", ["segments", "prefixes", "conditional"])
def test_closing_gives_everything_back(fake: Fake, golden, layout: Layout) -> None:
    backend = fake.open(layout)
    if layout == "segments":
        flow = backend.begin(golden.images[:7])
        flow.advance()
        other = backend.begin(golden.images[:2])
        other.advance()
    elif layout == "prefixes":
        backend.run_prefix(2, golden.images[:3])
    backend.close()
    gc.collect()
    assert not fake.cuda.held()


def use(fake: Fake, images: np.ndarray) -> None:
    """All that a backend does."""
    fake.open(zero_copy=True).close()
    backend = fake.open()
    flow = backend.begin(images)
    flow.advance()
    flow.keep(np.array([1]))
    flow.advance()
    backend.close()


CALLS = [name for name, member in vars(FakeCuda).items() if isinstance(member, FunctionType) and "cuda" in name[:4]]
MADE = [name for name in CALLS if not name.startswith("cudaGet")]  # those ask what an error means


@WITH_GRAPHS
def test_every_call_is_made(fake: Fake, golden) -> None:
    use(fake, golden.images[:4])
    assert set(fake.cuda.calls) == set(MADE)


@WITH_GRAPHS
@pytest.mark.parametrize("name", MADE)
def test_whatever_call_fails_is_one_line_that_names_it(fake: Fake, golden, name: str) -> None:
    fake.cuda.fails[name] = cudaError_t.cudaErrorIllegalAddress
    if name == "cudaStreamEndCapture":
        use(fake, golden.images[:4])  # then it runs without graphs
        return
    with pytest.raises(BackendError) as caught:
        use(fake, golden.images[:4])
    assert str(caught.value) == f"CUDA: {name} failed: cudaErrorIllegalAddress (what it means)"


@WITH_GRAPHS
@pytest.mark.parametrize(
    "name", ["cudaMalloc", "cudaMallocHost", "cudaEventCreateWithFlags", "cudaGraphInstantiateWithFlags"]
)
def test_a_backend_that_cannot_be_loaded_holds_nothing(fake: Fake, name: str) -> None:
    fake.cuda.fails[name] = cudaError_t.cudaErrorMemoryAllocation
    with pytest.raises(BackendError):
        fake.open()
    gc.collect()
    assert not fake.cuda.held()


def test_what_tensorrt_says_is_in_the_message(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    from fake_engine import FakeContext

    def refuse(context: FakeContext, stream: int) -> bool:
        fake.trt.logger.log(1, "out of\n  patience")
        return False

    monkeypatch.setattr(FakeContext, "execute_async_v3", refuse)
    with pytest.raises(BackendError, match=r"segment_1\.engine: cannot be run: out of patience"):
        fake.open()


def test_an_engine_that_takes_something_else_is_refused(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    from fake_engine import FakeEngine

    monkeypatch.setattr(FakeEngine, "get_tensor_shape", lambda engine, name: (-1, 2, 2))
    with pytest.raises(BackendError, match=r"segment_1\.engine: coarse is output float32 .* build the engines again"):
        fake.open()


@pytest.mark.parametrize("threshold", [0.0, 0.6, 0.9, 1.0])
def test_the_conditional_engine_stops_where_the_policy_does(fake: Fake, golden, threshold: float) -> None:
    backend = fake.open("conditional")
    with AnytimeClassifier(fake.bundle, fake.open()) as classifier:
        for image in golden.images:
            [expected] = classifier.classify(image, Confidence(threshold))
            logits, exit = backend.run_conditional(image[None], np.full(2, threshold, np.float32))
            assert exit == expected.exit
            np.testing.assert_allclose(logits, expected.logits[None], **CLOSE)
    assert backend.metadata()["cuda graphs"] == "off"


@pytest.mark.parametrize("fake", ["10.3.0"], indirect=True)
def test_it_says_what_it_runs_on(fake: Fake) -> None:
    assert fake.open(speculate=True).metadata() == {
        "tensorrt": "10.3.0",
        "gpu": "Fake GPU",
        "multiprocessors": "16",
        "gpu memory": "64 GiB",
        "precision": "fp32",
        "engine batch": "1:4:32",
        "engine options": "default",
        "cuda graphs": "on",
        "speculation": "on",
    }


@pytest.mark.parametrize("layout", ["prefixes", "conditional"])
@pytest.mark.parametrize("option", [{"decide": "device"}, {"speculate": True}])
def test_what_is_about_segments_is_refused_for_one_graph(fake: Fake, layout: Layout, option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(option))}: is about what comes between two segments"):
        fake.open(layout, **option)
