from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from backends import Opener
from counting_backend import CountingBackend
from PIL import Image
from scripted_backend import ScriptedBackend
from small_network import CLASSES

from edgemate.bundle import Bundle, InputContract
from edgemate.calibration import read_operating_points
from edgemate.errors import BundleError, ImageError, UsageError
from edgemate.policies import Confidence, Deadline, Entropy, FixedExit, Margin, Patience, Policy
from edgemate.runtime import AnytimeClassifier

POLICIES: list[Policy | str | None] = [
    Confidence(0.9),
    Confidence([0.95, 0.6], temperature=[1.5, 0.8]),
    Entropy(0.6),
    Margin(0.8),
    Patience(1),
    FixedExit(2),
    Deadline(1e6, segment_ms=(1.0, 1.0, 1.0), inner=Confidence(0.9)),
    "balanced",
    None,
]


@pytest.fixture(scope="module")
def backend(opener: Opener) -> CountingBackend:
    return CountingBackend(opener())


@pytest.fixture
def classifier(opener: Opener, backend: CountingBackend) -> AnytimeClassifier:
    backend.calls.clear()
    return AnytimeClassifier(opener.bundle, backend)


@pytest.fixture(scope="module")
def golden(small_bundle: Bundle):
    return small_bundle.golden()


def test_every_exit_says_what_the_golden_samples_say(classifier: AnytimeClassifier, golden) -> None:
    for image, expected in zip(golden.images, golden.logits, strict=True):
        answers = list(classifier.stream(image))
        np.testing.assert_allclose([answer.logits for answer in answers], expected, rtol=1e-4, atol=1e-4)


def test_a_stream_gives_one_answer_per_exit(classifier: AnytimeClassifier, golden) -> None:
    answers = list(classifier.stream(golden.images[0]))
    assert [answer.exit for answer in answers] == [1, 2, 3]
    assert [answer.final for answer in answers] == [False, False, True]
    assert all(answer.label == CLASSES[answer.index] for answer in answers)
    times = [answer.milliseconds for answer in answers]
    assert times == sorted(times)
    assert times[0] > 0


@pytest.mark.parametrize("taken", [0, 1, 2, 3])
def test_a_stream_computes_no_segment_that_was_not_asked_for(
    classifier: AnytimeClassifier, backend: CountingBackend, golden, taken: int
) -> None:
    stream = classifier.stream(golden.images[0])
    list(itertools.islice(stream, taken))
    del stream
    assert backend.calls == [(exit, 1) for exit in range(1, taken + 1)]


def name_of(policy: Policy | str | None) -> str:
    # An object's address would differ between the processes that share the tests.
    return type(policy).__name__ if isinstance(policy, Policy) else str(policy)


@pytest.mark.parametrize("policy", POLICIES, ids=name_of)
def test_no_segment_runs_after_the_exit_taken(
    classifier: AnytimeClassifier, backend: CountingBackend, golden, policy: Policy
) -> None:
    for image in golden.images:
        backend.calls.clear()
        [answer] = classifier.classify(image, policy)
        assert backend.calls == [(exit, 1) for exit in range(1, answer.exit + 1)]


@pytest.mark.parametrize("policy", POLICIES, ids=name_of)
@pytest.mark.parametrize("batch_size", [5, 24])
def test_a_batch_is_answered_as_its_images_are_one_at_a_time(
    classifier: AnytimeClassifier, golden, policy: Policy, batch_size: int
) -> None:
    together = classifier.classify(golden.images, policy, batch_size=batch_size)
    for image, answer in zip(golden.images, together, strict=True):
        [alone] = classifier.classify(image, policy)
        assert (answer.exit, answer.index, answer.final) == (alone.exit, alone.index, True)
        np.testing.assert_allclose(answer.logits, alone.logits, rtol=1e-4, atol=1e-4)
        assert answer.probability == pytest.approx(alone.probability, rel=1e-3)


def test_images_that_stopped_are_not_in_the_next_segments_batch(
    classifier: AnytimeClassifier, backend: CountingBackend, golden
) -> None:
    answers = classifier.classify(golden.images, Confidence(0.9))
    taken = [answer.exit for answer in answers]
    assert {1, 2, 3} == set(taken)
    assert backend.calls == [(exit, sum(other >= exit for other in taken)) for exit in (1, 2, 3)]


def test_a_long_list_goes_through_in_batches(classifier: AnytimeClassifier, backend: CountingBackend, golden) -> None:
    assert len(classifier.classify(list(golden.images), FixedExit(1), batch_size=10)) == 24
    assert backend.calls == [(1, 10), (1, 10), (1, 4)]


def test_nothing_in_nothing_out(classifier: AnytimeClassifier, golden) -> None:
    assert classifier.classify([]) == []
    assert classifier.classify(golden.images[:0]) == []


def test_all_kinds_of_images_give_the_same_answer(classifier: AnytimeClassifier, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image.save(tmp_path / "image.png")
    answers = classifier.classify([tmp_path / "image.png", str(tmp_path / "image.png"), image, pixels])
    assert len({answer.logits.tobytes() for answer in answers}) == 1


def test_an_operating_point_is_the_policy_of_that_name(classifier: AnytimeClassifier, golden, small_bundle) -> None:
    balanced = classifier.classify(golden.images, "balanced")
    with pytest.raises(UsageError, match="did you mean 'balanced'"):
        classifier.classify(golden.images, "balance")
    with pytest.raises(UsageError, match=r"^policy: is float; give an exit policy, such as Confidence\(0\.9\), or the"):
        classifier.classify(golden.images, 0.9)  # type: ignore[arg-type]
    expected = read_operating_points(small_bundle).get("balanced").expected
    fractions = [sum(answer.exit == exit for answer in balanced) / 24 for exit in (1, 2, 3)]
    assert fractions == pytest.approx(expected.fractions)
    accuracy = np.mean([answer.index for answer in balanced] == golden.labels)
    assert accuracy == pytest.approx(expected.accuracy)


def test_a_deadline_measures_the_segments_where_no_times_are_given(
    classifier: AnytimeClassifier, backend: CountingBackend, golden
) -> None:
    [hurried] = classifier.classify(golden.images[0], Deadline(1e-6))
    assert hurried.exit == 1
    measured = len(backend.calls)
    assert measured > 30
    [patient] = classifier.classify(golden.images[0], Deadline(1e6))
    assert patient.exit == 3
    assert len(backend.calls) == measured + 3  # not measured again


def test_measured_segments_are_one_time_per_exit(classifier: AnytimeClassifier) -> None:
    times = classifier.measure_segments(batch=2, repeats=5)
    assert len(times) == 3
    assert all(0 < time < 1e4 for time in times)


@pytest.fixture(scope="module")
def prefixes(opener: Opener) -> AnytimeClassifier:
    return AnytimeClassifier(opener.bundle, opener("prefixes"), layout="prefixes")


@pytest.mark.parametrize("exit", [1, 2, 3])
def test_prefixes_answer_at_a_fixed_exit_as_segments_do(prefixes: AnytimeClassifier, golden, exit: int) -> None:
    answers = prefixes.classify(golden.images, FixedExit(exit), batch_size=7)
    assert {answer.exit for answer in answers} == {exit}
    found = np.stack([answer.logits for answer in answers])
    np.testing.assert_allclose(found, golden.logits[:, exit - 1], rtol=1e-4, atol=1e-4)


def test_prefixes_refuse_what_they_cannot_do(prefixes: AnytimeClassifier, golden) -> None:
    assert prefixes.classify(golden.images[0])[0].exit == 3
    for policy in (Confidence(0.5), Deadline(5.0), Deadline(5.0, segment_ms=(1, 1, 1), inner=FixedExit(1))):
        with pytest.raises(UsageError, match="layout 'prefixes' answers at a fixed exit only"):
            prefixes.classify(golden.images, policy)
    with pytest.raises(UsageError, match="stream: needs layout 'segments'"):
        prefixes.stream(golden.images[0])
    with pytest.raises(UsageError, match="this network has exits 1 to 3"):
        prefixes.classify(golden.images, FixedExit(4))


@pytest.fixture(scope="module")
def conditional(conditional_opener: Opener) -> AnytimeClassifier:
    return AnytimeClassifier(conditional_opener.bundle, conditional_opener("conditional"), layout="conditional")


@pytest.mark.parametrize("policy", [None, FixedExit(1), FixedExit(2), Confidence(0.9), Confidence([0.95, 0.6])])
def test_the_conditional_graph_stops_where_the_policy_does(
    conditional_opener: Opener, conditional: AnytimeClassifier, golden, policy: Policy
) -> None:
    segments = AnytimeClassifier(conditional_opener.bundle, conditional_opener())
    for expected, found in zip(
        segments.classify(golden.images, policy), conditional.classify(golden.images, policy), strict=True
    ):
        assert (found.exit, found.index, found.final) == (expected.exit, expected.index, True)
        np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "policy",
    [
        Entropy(0.6),
        Patience(1),
        Deadline(5.0),
        Deadline(5.0, segment_ms=(1, 1, 1)),
        Confidence(0.9, temperature=2.0),
    ],
)
def test_the_conditional_graph_refuses_what_it_cannot_do(conditional: AnytimeClassifier, golden, policy) -> None:
    with pytest.raises(UsageError, match="layout 'conditional' compares probabilities with thresholds"):
        conditional.classify(golden.images, policy)
    with pytest.raises(UsageError, match="stream: needs layout 'segments'"):
        conditional.stream(golden.images[0])


def test_the_conditional_graph_knows_only_the_exits_there_are(conditional: AnytimeClassifier, golden) -> None:
    with pytest.raises(UsageError, match="this network has exits 1 to 3"):
        conditional.classify(golden.images, FixedExit(4))
    with pytest.raises(UsageError, match="threshold has 3 numbers; 3 exits need 2"):
        conditional.classify(golden.images, Confidence([0.5] * 3))


def test_logits_that_are_no_numbers_stop_nothing_and_are_counted(small_bundle: Bundle, golden) -> None:
    unsure, sure = [0.0, 0.0, 0.0, 0.0], [0.0, 9.0, 0.0, 0.0]
    backend = ScriptedBackend(
        [unsure, [math.nan, 9.0, 0.0, 0.0], unsure],
        [sure, [0.0, 9.0, math.inf, 0.0], unsure],
        [sure, [0.0, 9.0, -math.inf, 0.0]],
    )
    classifier = AnytimeClassifier(small_bundle, backend)
    answers = classifier.classify(golden.images[:3], Confidence(0.9))
    assert backend.kept == [[1, 2]]
    assert [answer.exit for answer in answers] == [2, 3, 3]
    assert answers[1].probability > 0.9
    assert np.isnan(answers[2].probability)
    assert classifier.non_finite == 3


def test_a_stream_never_takes_an_answer_back(small_bundle: Bundle, golden) -> None:
    unsure, broken = [0.0, 1.0, 0.0, 0.0], [math.nan, 9.0, 0.0, 0.0]
    for script, exits in (
        ([unsure, broken, unsure], [1, 3]),
        ([broken, broken, unsure], [1, 2, 3]),  # what is no answer is given only where there was none
        ([unsure, unsure, broken], [1, 2, 3]),
    ):
        classifier = AnytimeClassifier(small_bundle, ScriptedBackend(*([row] for row in script)))
        assert [answer.exit for answer in classifier.stream(golden.images[0])] == exits
        assert classifier.non_finite == script.count(broken)


@pytest.mark.parametrize("broken", [(1,), (2,), (1, 2), ()])
@pytest.mark.parametrize("inner", [None, Patience(1), Confidence(0.9)])
def test_a_stream_under_a_deadline_ends_where_classify_stops(
    small_bundle: Bundle, golden, broken: tuple[int, ...], inner: Policy | None
) -> None:
    said = [[math.nan, 9.0, 0.0, 0.0] if exit in broken else [0.0, 1.0, 0.0, 0.0] for exit in (1, 2, 3)]
    for ms in (1e-6, 1e6):
        policy = Deadline(ms, segment_ms=(1, 1, 1), inner=inner)
        [answer] = AnytimeClassifier(small_bundle, ScriptedBackend(*([row] for row in said))).classify(
            golden.images[:1], policy
        )
        streaming = AnytimeClassifier(small_bundle, ScriptedBackend(*([row] for row in said)))
        streamed = list(streaming.stream(golden.images[0], policy))
        assert (streamed[-1].exit, streamed[-1].final) == (answer.exit, True)
        assert not math.isnan(answer.probability)
        assert streaming.non_finite == sum(exit <= answer.exit for exit in broken)


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda c, x: c.classify(x, batch_size=0), "batch_size: must be 1 or more"),
        (lambda c, x: c.classify(x, Confidence([0.5] * 5)), "threshold has 5 numbers; 3 exits need 2"),
        (lambda c, x: c.stream(x), "stream: takes one image at a time"),
        (lambda c, x: c.stream(x[:0]), "stream: takes one image at a time"),
    ],
)
def test_what_cannot_be_used_is_named(classifier: AnytimeClassifier, golden, call, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        call(classifier, golden.images)
    assert problem in str(caught.value)


def test_a_stream_of_no_image_fails_at_once(classifier: AnytimeClassifier, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        classifier.stream(tmp_path / "none.png")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"backend": "onnxrutime"}, "unknown backend 'onnxrutime'; did you mean 'onnxruntime'"),
        ({"threads": 0}, "threads: must be from 1 to 1,024, not 0"),
        ({"threads": 100_000}, "threads: must be from 1 to 1,024, not 100000"),
        ({"layout": "segment"}, "layout: must be 'segments' or 'prefixes' or 'conditional', not"),
        ({"speculate": True}, "speculate: backend 'onnxruntime' has no such option"),
    ],
)
def test_options_that_cannot_be_used_are_named(small_bundle: Bundle, options, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        AnytimeClassifier.load(small_bundle.path, **options)


def test_a_damaged_bundle_is_not_loaded(own_bundle: Path) -> None:
    graph = own_bundle / "onnx/segment_1.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    with pytest.raises(BundleError, match=r"segment_1\.onnx: was changed"):
        AnytimeClassifier.load(own_bundle)
    pytest.importorskip("onnxruntime")
    graph.write_bytes(b"no graph")
    with pytest.raises(BundleError, match=r"segment_1\.onnx: not a graph that edgemate exports"):
        AnytimeClassifier.load(own_bundle, verify=False)


def test_exits_classes_and_input_are_the_manifests(classifier: AnytimeClassifier, small_bundle: Bundle) -> None:
    assert classifier.exits == small_bundle.manifest.exits
    assert classifier.classes == CLASSES
    assert classifier.input == small_bundle.manifest.input


def test_exact_pixels_are_refused_where_the_graphs_resize_frames(small_bundle: Bundle) -> None:
    given = small_bundle.manifest.input.model_dump() | {"dtype": "uint8", "layout": "NHWC", "frame": (48, 64)}
    manifest = small_bundle.manifest.model_copy(update={"input": InputContract.model_validate(given)})
    of_frames = Bundle(small_bundle.path, manifest)
    assert AnytimeClassifier(of_frames, ScriptedBackend()).input.frame == (48, 64)
    with pytest.raises(UsageError, match="exact_pixels: this bundle takes frames of 64x48, which its graphs resize"):
        AnytimeClassifier(of_frames, ScriptedBackend(), exact_pixels=True)
