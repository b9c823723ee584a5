"""Segments that fail, give something else than the manifest says, or are asked after the end."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted_backend import ScriptedBackend

from edgemate.bundle import Bundle
from edgemate.bundle.manifest import Layout
from edgemate.errors import BackendError, BundleError, ClosedError, EdgemateError, UsageError
from edgemate.policies import Confidence, Deadline, FixedExit
from edgemate.runtime import AnytimeClassifier, Prediction
from edgemate.runtime.backends.base import ForwardPass
from edgemate.runtime.classifier import OnFailure

SURE, UNSURE = [9.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 2.0]
BROKEN = [math.nan, 0.0, 0.0, 0.0]
ZEROS = np.zeros((2, 3, 8, 8), np.float32)


class FailingBackend(ScriptedBackend):
    """Says what it was told to for each image, and fails after that."""

    def begin(self, images: np.ndarray) -> ForwardPass:
        return _FailingPass(self.script)


class _FailingPass(ForwardPass):
    def __init__(self, script: list[np.ndarray]) -> None:
        self._script = iter(script)
        self._rows: np.ndarray | None = None

    def advance(self) -> np.ndarray:
        logits = next(self._script, None)
        if logits is None:
            raise BackendError("segment_k.onnx: ONNX Runtime cannot run it")
        return logits if self._rows is None else logits[self._rows]

    def keep(self, kept: np.ndarray) -> None:
        self._rows = kept if self._rows is None else self._rows[kept]


def classifier(bundle: Bundle, *logits: list[list[float]], on_failure: OnFailure = "degrade") -> AnytimeClassifier:
    return AnytimeClassifier(bundle, FailingBackend(*logits), on_failure=on_failure)


def shown(answers: list[Prediction]) -> list[tuple[int | None, str | None, int, bool]]:
    return [(answer.index, answer.label, answer.exit, answer.degraded) for answer in answers]


def test_an_earlier_exit_answers_where_that_is_allowed(small_bundle: Bundle) -> None:
    names = small_bundle.manifest.classes
    found = classifier(small_bundle, [SURE, UNSURE], [UNSURE, UNSURE])
    answers = found.classify(ZEROS, Confidence(0.9))
    assert shown(answers) == [(0, names[0], 1, False), (3, names[3], 2, True)]
    assert answers[1].probability == pytest.approx(np.exp(2) / (np.exp(2) + np.exp(1) + 2))
    assert found.statistics().degraded == 1
    assert found.statistics().answers == (1, 1, 0)
    found.reset_statistics()
    assert found.statistics().degraded == 0


def test_the_error_is_raised_where_it_is_not(small_bundle: Bundle) -> None:
    found = classifier(small_bundle, [SURE, UNSURE], [UNSURE, UNSURE], on_failure="raise")
    with pytest.raises(BackendError, match="segment_k"):
        found.classify(ZEROS)
    assert found.statistics().images == 0
    assert shown(found.classify(ZEROS, FixedExit(2)))[0][2:] == (2, False), "the failing segment is not needed"


def test_the_deepest_exit_with_finite_logits_answers_each_image(small_bundle: Bundle) -> None:
    found = classifier(small_bundle, [SURE, UNSURE], [BROKEN, UNSURE])
    assert [(answer.exit, answer.degraded) for answer in found.classify(ZEROS)] == [(1, True), (2, True)]
    assert found.non_finite == 1


@pytest.mark.parametrize("policy", [None, Deadline(1e6, segment_ms=(1, 1, 1)), Confidence(1.0)])
def test_without_any_finite_exit_the_error_is_raised(small_bundle: Bundle, policy: Any) -> None:
    with pytest.raises(BackendError):
        classifier(small_bundle).classify(ZEROS, policy)
    with pytest.raises(BackendError):
        classifier(small_bundle, [BROKEN, UNSURE]).classify(ZEROS, policy)


def test_an_answer_that_is_none_has_no_label(small_bundle: Bundle) -> None:
    label = small_bundle.manifest.classes[0]
    for on_failure, expected in (("raise", (None, None, 3, False)), ("degrade", (0, label, 1, True))):
        script = ([SURE, UNSURE], [BROKEN, UNSURE], [BROKEN, SURE])
        found = classifier(small_bundle, *script, on_failure=on_failure)  # type: ignore[arg-type]
        first, second = found.classify(ZEROS)
        assert shown([first]) == [expected]
        assert math.isnan(first.probability) == (on_failure == "raise")
        assert shown([second])[0][2:] == (3, False)
        alone = ([rows[0]] for rows in script)
        streamed = list(classifier(small_bundle, *alone, on_failure=on_failure).stream(ZEROS[0]))  # type: ignore[arg-type]
        assert [answer.final for answer in streamed] == [False, True]
        assert shown(streamed[-1:])[0][2:] == (expected[2], expected[3])


def test_a_stream_ends_with_the_last_answer_again(small_bundle: Bundle) -> None:
    found = classifier(small_bundle, [SURE], [BROKEN])
    *_, last = found.stream(ZEROS[0])
    assert (last.exit, last.index, last.final, last.degraded) == (1, 0, True, True)
    assert found.statistics().degraded == 1
    stream = classifier(small_bundle, [SURE], on_failure="raise").stream(ZEROS[0])
    next(stream)
    with pytest.raises(BackendError):
        next(stream)


def test_an_unknown_choice_is_refused(small_bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="on_failure: must be 'raise' or 'degrade', not 'ignore'"):
        AnytimeClassifier.load(small_bundle.path, on_failure="ignore")  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", ["prefixes", "conditional"])
def test_one_graph_has_no_earlier_exit_to_answer(small_bundle: Bundle, layout: Layout) -> None:
    with pytest.raises(UsageError, match=f"on_failure 'degrade': .* layout is '{layout}'"):
        AnytimeClassifier.load(small_bundle.path, layout=layout, on_failure="degrade")


USES = {
    "classify": lambda loaded: loaded.classify(ZEROS),
    "stream": lambda loaded: loaded.stream(ZEROS[0]),
    "measure_segments": lambda loaded: loaded.measure_segments(repeats=1),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("layout", ["segments", "prefixes"])
def test_what_is_asked_after_close_is_an_error_and_not_the_end_of_a_generator(
    small_bundle: Bundle, use: str, layout: Any
) -> None:
    pytest.importorskip("onnxruntime")
    loaded = AnytimeClassifier.load(small_bundle.path, threads=1, layout=layout)
    loaded.close()
    loaded.close()

    def caller() -> Iterator[Any]:
        yield USES[use](loaded)

    with pytest.raises(ClosedError, match="was closed") as caught:
        list(caller())
    assert isinstance(caught.value, EdgemateError)
    assert caught.type is ClosedError


def test_a_stream_under_way_ends_with_an_error(small_bundle: Bundle) -> None:
    pytest.importorskip("onnxruntime")
    loaded = AnytimeClassifier.load(small_bundle.path, threads=1)
    stream = loaded.stream(ZEROS[0])
    next(stream)
    loaded.close()
    with pytest.raises(ClosedError):
        next(stream)
    with pytest.raises(ClosedError):
        loaded.backend.begin(ZEROS)


def test_a_pass_has_no_more_segments_than_there_are(small_bundle: Bundle) -> None:
    pytest.importorskip("onnxruntime")
    with AnytimeClassifier.load(small_bundle.path, threads=1) as loaded:
        flow = loaded.backend.begin(ZEROS)
        for _ in range(3):
            flow.advance()
        with pytest.raises(BackendError, match="no segment is left"):
            flow.advance()


def rewrite(path: Path, change: Any) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(path)
    change(model.graph, onnx.helper)
    path.write_bytes(model.SerializeToString())


def cast_logits(kind: int) -> Any:
    """The logits, in another dtype."""

    def change(graph: Any, helper: Any) -> None:
        graph.node[-1].output[0] = "before"
        graph.node.append(helper.make_node("Cast", ["before"], ["logits_1"], to=kind))
        next(out for out in graph.output if out.name == "logits_1").type.tensor_type.elem_type = kind

    return change


def shape_logits(operator: str, shape: list[int]) -> Any:
    """The logits in another shape, which the graph does not state."""

    def change(graph: Any, helper: Any) -> None:
        graph.node[-1].output[0] = "before"
        graph.initializer.append(helper.make_tensor("shape", 7, [len(shape)], shape))
        graph.node.append(helper.make_node(operator, ["before", "shape"], ["logits_1"]))
        next(out for out in graph.output if out.name == "logits_1").type.tensor_type.ClearField("shape")

    return change


def flat_features(graph: Any, helper: Any) -> None:
    made = next(node for node in graph.node if "coarse" in node.output)
    made.output[0] = "before"
    graph.node.append(helper.make_node("Flatten", ["before"], ["coarse"]))
    next(out for out in graph.output if out.name == "coarse").type.tensor_type.ClearField("shape")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cast_logits(11), "gives logits_1 as tensor(double) where the manifest says tensor(float)"),
        (cast_logits(10), "gives logits_1 as tensor(float16) where the manifest says tensor(float)"),
        (cast_logits(7), "gives logits_1 as tensor(int64) where the manifest says tensor(float)"),
        (shape_logits("Reshape", [-1]), "gives logits_1 as float32 (8,); the manifest says float32 (2, 4)"),
        (shape_logits("Reshape", [-1, 2]), "gives logits_1 as float32 (4, 2); the manifest says float32 (2, 4)"),
        (shape_logits("Reshape", [2, 2, 2]), "gives logits_1 as float32 (2, 2, 2)"),
        (shape_logits("Expand", [3, 2, 4]), "gives logits_1 as float32 (3, 2, 4)"),
        (flat_features, "gives coarse as float32 (2, "),
    ],
)
@pytest.mark.parametrize("layout", ["segments", "prefixes"])
def test_what_a_graph_gives_is_compared_with_the_manifest(
    own_bundle: Path, change: Any, message: str, layout: Any
) -> None:
    pytest.importorskip("onnxruntime")
    if layout == "prefixes" and change is flat_features:
        pytest.skip("a prefix gives logits only")
    rewrite(own_bundle / "onnx" / ("prefix_1.onnx" if layout == "prefixes" else "segment_1.onnx"), change)
    with pytest.raises(BundleError) as caught:  # noqa: PT012
        loaded = AnytimeClassifier.load(own_bundle, verify=False, threads=1, layout=layout)
        loaded.classify(ZEROS, FixedExit(1))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_deadline_without_times_of_the_segments_is_kept_by_the_clock(small_bundle: Bundle) -> None:
    found = classifier(small_bundle, [SURE, UNSURE])
    assert [(answer.exit, answer.degraded) for answer in found.classify(ZEROS, Deadline(1e6))] == [(1, True)] * 2
    assert [(answer.exit, answer.degraded) for answer in found.classify(ZEROS, Deadline(1e-9))] == [(1, False)] * 2
    with pytest.raises(BackendError):
        classifier(small_bundle, [SURE, UNSURE], on_failure="raise").classify(ZEROS, Deadline(1e6))
