from __future__ import annotations

import numpy as np
import pytest
from golden_backend import GoldenBackend

from edgemate.bundle import Bundle, Manifest
from edgemate.errors import BackendError
from edgemate.runtime.proof import default_tolerance, prove

QUICK = {"warmup": 0, "repeats": 2}


@pytest.mark.parametrize("layout", ["segments", "prefixes"])
@pytest.mark.parametrize("batch", [1, 5])
def test_every_exit_is_compared_and_timed(small_bundle: Bundle, layout: str, batch: int) -> None:
    proofs = prove(small_bundle, GoldenBackend(small_bundle), layout, tolerance=1e-3, batch=batch, **QUICK)
    assert [proof.exit for proof in proofs] == [1, 2, 3]
    for proof, logits in zip(proofs, small_bundle.golden().logits.swapaxes(0, 1), strict=True):
        assert proof.largest_difference == 0
        assert proof.limit == pytest.approx(1e-3 * max(1.0, np.abs(logits).max()))
        assert (proof.agreement, proof.images, proof.problem, proof.latency.repeats) == (1.0, 24, None, 2)
        assert proof.latency.p50 > 0


def test_the_conditional_graph_is_made_to_stop_at_every_exit(small_bundle: Bundle) -> None:
    proofs = prove(small_bundle, GoldenBackend(small_bundle), "conditional", tolerance=1e-3, **QUICK)
    assert [proof.largest_difference for proof in proofs] == [0, 0, 0]


def test_a_conditional_graph_that_stops_elsewhere_is_refused(
    small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = GoldenBackend(small_bundle)
    monkeypatch.setattr(backend, "run_conditional", lambda image, thresholds: (backend.run_prefix(1, image), 1))
    with pytest.raises(BackendError, match=r"conditional, exit 2: thresholds .* led to exit 1"):
        prove(small_bundle, backend, "conditional", tolerance=1e-3, **QUICK)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (5.0, "prefixes, exit 2: the largest difference from the network is 5 on 24 golden samples; the limit is "),
        (np.nan, "prefixes, exit 2: logits are not finite for 1 of 24 golden samples"),
        (np.inf, "prefixes, exit 2: logits are not finite for 1 of 24 golden samples"),
    ],
)
def test_what_is_too_far_off_is_named(small_bundle: Bundle, error: float, said: str) -> None:
    proofs = prove(small_bundle, GoldenBackend(small_bundle, error=error), "prefixes", tolerance=0.01, batch=8, **QUICK)
    assert [proof.problem is None for proof in proofs] == [True, False, True]
    assert said in str(proofs[1].problem)


def test_a_wider_tolerance_lets_more_pass(small_bundle: Bundle) -> None:
    largest = np.abs(small_bundle.golden().logits[:, 1]).max()
    backend = GoldenBackend(small_bundle, error=0.5)
    proofs = prove(small_bundle, backend, "prefixes", tolerance=1 / max(1.0, largest), **QUICK)
    assert proofs[1].largest_difference == pytest.approx(0.5, abs=1e-5)
    assert proofs[1].problem is None


@pytest.mark.parametrize(("name", "allowed", "tolerance"), [("fp32", 0.001, 0.01), ("int8", 0.25, 0.5)])
def test_the_default_tolerance_follows_what_the_export_allowed(
    small_bundle: Bundle, name: str, allowed: float, tolerance: float
) -> None:
    assert default_tolerance(small_bundle) == 0.01
    manifest = small_bundle.manifest.model_dump(mode="json") | {"precision": {"name": name, "tolerance": allowed}}
    assert default_tolerance(Bundle(small_bundle.path, Manifest.model_validate(manifest))) == tolerance
