"""The kernel's numbers: against the policies, against its reference in numpy, and as PTX."""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import decision_kernel
import decision_reference
import numpy as np
import pytest
from decision_kernel import PTX, RULE, SOURCE, HostKernel, compile_ptx, find_nvcc

from edgemate.errors import BackendError
from edgemate.policies import Confidence, Entropy, Margin, Patience, Policy
from edgemate.policies.single import StopRule
from edgemate.runtime.backends.tensorrt import kernel as module
from edgemate.runtime.backends.tensorrt.deciding import ANSWER, SCORES
from edgemate.runtime.backends.tensorrt.deciding import RULE as SHIPPED_RULE
from edgemate.runtime.backends.tensorrt.kernel import THREADS, DecisionKernel

CLOSE = 4e-6
"""Of scores: expf and logf of the host, of a GPU and of numpy differ by a few units in the last place."""

KINDS = (Confidence, Entropy, Margin)
CLASSES = (2, 3, 10, 100, 127, 128, 129, 1000)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> HostKernel:
    compiler = shutil.which("g++") or pytest.skip("g++ is not installed")
    return HostKernel(tmp_path_factory.mktemp("kernel"), compiler)


def rules_of(rule: StopRule) -> np.ndarray:
    rules = np.zeros(len(rule.thresholds), RULE)
    rules["score"] = SCORES.index(rule.kind)
    rules["threshold"], rules["temperature"] = rule.thresholds, rule.temperatures
    return rules


def logits_of(seed: int, classes: int, exits: int) -> np.ndarray:
    """From undecided to sure; some with ties."""
    random = np.random.default_rng(seed)
    found = random.normal(size=(exits, classes)) * 10.0 ** random.uniform(-2, 1.3, size=(exits, 1))
    if seed % 3 == 0:
        found = found.round()
    return found.astype(np.float32)


class OnHost:
    def __init__(self, host: HostKernel) -> None:
        self._host = host

    def run(self, logits: np.ndarray, rules: np.ndarray) -> tuple[int, np.ndarray, list[int]]:
        """The exit that answers, its answer and how often each exit was passed, as the graph would go."""
        exits, classes = logits.shape
        answer = np.zeros(ANSWER.itemsize + 4 * classes, np.uint8)
        answer[:] = 0xFF
        for exit in range(1, exits + 1):
            value = self._host.run(1000 + exit, logits[exit - 1].copy(), rules, answer, exit, exits)
            assert value == (77 if exit == exits else value & 1)
            if value != 1:
                break
        header = answer[: ANSWER.itemsize].view(np.int32)
        assert header[0] == exit
        return exit, answer[ANSWER.itemsize :].view(np.float32), header.tolist()


def by_the_policy(policy: Policy, logits: np.ndarray) -> tuple[int, int]:
    """The exit where one image stops, and how many exits before it had no finite logits."""
    decider = policy.begin(1, len(logits))
    for exit in range(1, len(logits)):
        if decider.stop(exit, logits[exit - 1][None], 0.0)[0]:
            return exit, decider.non_finite
    return len(logits), decider.non_finite


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("temperature", [None, [0.5, 3.0]])
def test_it_stops_where_the_policy_does(host: HostKernel, kind: Any, classes: int, temperature: Any) -> None:
    stopped = set()
    for seed in range(24):
        logits = logits_of(seed, classes, 3)
        scaled = logits[:2] if temperature is None else logits[:2] / np.array(temperature, np.float32)[:, None]
        score = kind.score(scaled).astype(np.float64)
        # Close to the scores themselves, where a wrong formula shows, and not closer than its roundings: an entropy is
        # the difference of two numbers of the size of log(classes).
        near = 4e-5 if kind is Entropy else np.maximum(8 * CLOSE * score, 1e-6)
        for thresholds in (score * 0.5, score - near, score + near, score * 2):
            thresholds = np.clip(thresholds, 0, min(kind.highest, 100))
            if np.any(np.abs(thresholds - score) < near / 2):
                continue
            policy = kind(thresholds.tolist(), temperature=temperature)
            rule = policy.rule(3)
            assert rule is not None
            exit, found, _ = OnHost(host).run(logits, rules_of(rule))
            assert (exit, 0) == by_the_policy(policy, logits), (seed, thresholds - score)
            np.testing.assert_array_equal(found, logits[exit - 1])
            stopped.add(exit)
    assert stopped >= {1, 3}


@pytest.mark.parametrize("times", [1, 2, 3])
def test_patience_counts_classes_in_a_row_and_starts_anew_with_each_image(host: HostKernel, times: int) -> None:
    policy = Patience(times)
    rule = policy.rule(5)
    assert rule is not None
    stopped = set()
    for seed in range(60):
        logits = logits_of(seed, 3, 5)
        if seed % 4 == 0:
            logits[seed % 5, 1] = np.nan
        exit, _, header = OnHost(host).run(logits, rules_of(rule))
        assert (exit, header[1]) == by_the_policy(policy, logits)
        stopped.add(exit)
    assert len(stopped) > 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 5, 130])
def test_an_exit_with_a_logit_that_is_no_number_is_passed_and_counted(
    host: HostKernel, value: float, place: int
) -> None:
    logits = logits_of(1, 131, 3)
    logits[0, place] = value
    rule = Confidence(0.0).rule(3)
    assert rule is not None
    exit, _, header = OnHost(host).run(logits, rules_of(rule))
    assert (exit, header[1]) == (2, 1) == by_the_policy(Confidence(0.0), logits)
    logits[1:, place] = value  # the last exit answers whatever it says
    exit, found, header = OnHost(host).run(logits, rules_of(rule))
    assert (exit, header[1]) == (3, 2)
    np.testing.assert_array_equal(found, logits[2])


@pytest.mark.parametrize("classes", [1, *CLASSES])
def test_the_reference_gives_the_policies_scores(classes: int) -> None:
    for seed in range(20):
        logits = logits_of(seed, classes, 1)
        for kind in KINDS:
            found = decision_reference.score(logits[0], kind.name)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, kind.score(logits)[0], rtol=CLOSE, atol=1e-6)


def test_the_reference_does_what_the_kernel_does(host: HostKernel) -> None:
    for seed in range(40):
        logits = logits_of(seed, CLASSES[seed % len(CLASSES)], 4)
        if seed % 5 == 0:
            logits[1, 0] = np.inf
        kind = SCORES[seed % len(SCORES)]
        threshold = 2.0 if kind == "patience" else 0.37
        rules = rules_of(StopRule(kind, (threshold,) * 3, (1.0, 0.7, 2.0)))
        exit, _, header = OnHost(host).run(logits, rules)
        own = np.full(4, -1, np.int32)
        for number in range(1, 5):
            stop, sets = decision_reference.decide(logits[number - 1], rules, own, number, 4)
            assert sets == (number < 4)
            if stop:
                break
        assert (exit, header) == (number, own.tolist())


def test_both_sides_lay_out_rules_and_answers_alike() -> None:
    source = SOURCE.read_text()
    assert SHIPPED_RULE == RULE
    assert f"#define THREADS {THREADS}\n" in source
    names = [re.sub(r".*enum Score \{(.*?)\}.*", r"\1", source, flags=re.S)][0]
    assert tuple(re.findall(r"(\w+) = \d", names.lower())) == SCORES
    for struct, dtype in (("Rule", SHIPPED_RULE), ("Answer", ANSWER)):
        body = source[source.index(f"struct {struct} {{") :].split("}")[0]
        declared = re.findall(r"(int|float) (\w+);", body)
        assert [(name, {"i": "int", "f": "float"}[dtype[name].kind]) for name in dtype.names or ()] == [
            (name, kind) for kind, name in declared
        ]


# PTX


def test_what_is_shipped_is_compiled_from_the_source_beside_it() -> None:
    assert hashlib.sha256(SOURCE.read_bytes()).hexdigest() in PTX.read_text().splitlines()[0]
    assert module.PTX == PTX


def test_it_names_the_condition_as_an_external_function_and_needs_no_new_ptx() -> None:
    text = PTX.read_text()
    assert re.findall(r"\.extern \.func (\w+)", text) == ["cudaGraphSetConditional"]
    assert f".version {decision_kernel.VERSION}\n.target sm_75\n" in text  # which the driver of CUDA 12.4 reads


def test_compiling_it_again_gives_the_same() -> None:
    nvcc = find_nvcc() or pytest.skip("nvcc is not installed")
    if f"nvcc {decision_kernel.release(nvcc)}." not in PTX.read_text().splitlines()[0]:
        pytest.skip("another nvcc compiled it")
    assert compile_ptx(nvcc) == PTX.read_text()


@pytest.mark.parametrize("architecture", ["sm_75", "sm_87", "sm_90", "sm_110"])
def test_it_assembles_for_every_gpu(tmp_path: Path, architecture: str) -> None:
    ptxas = shutil.which("ptxas") or shutil.which("ptxas", path="/usr/local/cuda/bin")
    if ptxas is None:
        pytest.skip("ptxas is not installed")
    output = tmp_path / "decision.cubin"
    done = subprocess.run([ptxas, f"-arch={architecture}", str(PTX), "-o", str(output)], capture_output=True, text=True)
    if "not defined for option 'gpu-name'" in done.stderr:
        pytest.skip(f"this ptxas does not know {architecture}")
    assert done.returncode == 0, done.stderr
    assert b"cudaGraphSetConditional" in output.read_bytes()  # left for the driver


def test_it_is_started_with_what_the_kernel_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = re.findall(r"\.param \.(\w+) decide_param_\d", PTX.read_text())
    launched: list[Any] = []

    def launch(*given: Any) -> int:
        kinds = {"u64": ctypes.c_ulonglong, "u32": ctypes.c_int}
        launched.append([kinds[kind].from_address(at).value for kind, at in zip(parameters, given[9], strict=True)])
        return 0

    driver = SimpleNamespace(
        cuModuleLoadData=lambda image: (0, 1),
        cuModuleGetFunction=lambda loaded, name: (0, 2),
        cuLaunchKernel=launch,
    )
    monkeypatch.setattr(module, "open_driver", lambda: driver)
    DecisionKernel().enqueue(5, 2**63 + 1, 2**40, 3, 4, 1, 6, 7)
    assert launched == [[2**63 + 1, 2**40, 3, 4, 1, 6, 7]]


def test_without_a_driver_it_is_one_line() -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        with pytest.raises(BackendError, match=r"^libcuda, the driver's library, cannot be used \(libcuda\.so\.1"):
            DecisionKernel()
    else:
        pytest.skip("this machine has a driver")


def test_the_kernel_is_in_the_package() -> None:
    tomllib = pytest.importorskip("tomllib")
    root = Path(__file__).parents[4]
    data = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["edgemate"]
    assert {PTX, SOURCE} <= {path for pattern in data for path in (root / "edgemate").glob(pattern)}
