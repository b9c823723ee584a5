"""Deadlines beside a busy neighbor: is an answer ever lost, and how often does one come late?

    python benchmarks/deadline.py runs/fashion_mnist-resnet8_mate

Requests of one image each, with deadlines from half of what exit 1 takes to twice the whole network's time, in random
order, while another process multiplies matrices. The segments are timed beforehand beside the same neighbor, since
the 99th percentile that deadlines are kept by is that of the device as it is used.

At most 1 % may be late of every deadline above exit 1's 99th percentile, each by itself: pooled, the long ones, which
are easy to keep, would hide a short one that is not.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from edgemate import files
from edgemate.exits import Deadline
from edgemate.exporting import export_run
from edgemate.machine import machine_metadata, usable_cores
from edgemate.profiling.images import sample_test_split
from edgemate.runs import Run
from edgemate.runtime import AnytimeClassifier, measure_stops

MAX_LATE = 0.01


def main() -> None:
    options = _options()
    run = Run.open(options.run)
    images, _ = sample_test_split(run, 500)
    with tempfile.TemporaryDirectory() as folder:
        bundle = export_run(run, Path(folder) / run.name).bundle
        context = multiprocessing.get_context("spawn")
        neighbor = context.Process(target=_be_busy, daemon=True)
        neighbor.start()
        try:
            with AnytimeClassifier.load(bundle.path, threads=options.threads) as classifier:
                found = _measure(classifier, images, options.requests, options.deadlines, options.repeats)
        finally:
            neighbor.terminate()
            neighbor.join()
    print(
        f"{run.name}: {options.requests:,} requests beside a busy process on {usable_cores()} cores; "
        f"exit 1: p50 {found['exit_1_p50_ms']:.3f}, p99 {found['exit_1_p99_ms']:.3f} ms; "
        f"whole network p50 {found['full_p50_ms']:.3f} ms"
    )
    print(f"{'deadline, ms':>12} {'requests':>9} {'late':>7} {'mean exit':>10}  at most {MAX_LATE:.0%} late")
    for row in found["results"]:
        verdict = {None: "below exit 1's p99", True: "held", False: "NOT HELD"}[row["held"]]
        print(
            f"{row['deadline_ms']:>12.3f} {row['requests']:>9} {row['late']:>7.2%} {row['mean_exit']:>10.2f}  {verdict}"
        )
    print(
        f"answers lost: {found['lost']}; each deadline above exit 1's p99: {'held' if found['held'] else 'NOT HELD'}; "
        f"late of all of these together: {found['late_above_p99']:.2%} of {found['requests_above_p99']:,}"
    )
    files.write_json(
        options.output,
        {"benchmark": "deadline", "run": run.name, "threads": options.threads, "machine": machine_metadata(), **found},
    )


def _measure(
    classifier: AnytimeClassifier, images: np.ndarray, requests: int, deadlines: int, repeats: int
) -> dict[str, Any]:
    table = measure_stops(classifier, images, device="here", repeats=repeats)
    segment_ms = table.segment_ms
    first, full = (table.exits[0].quantiles_ms, table.exits[-1].quantiles_ms)
    swept = np.geomspace(first[50] / 2, 2 * full[50], deadlines)
    # Above the p99 of a deadline's own clock: the segment and its decision, without the call around it.
    limit = segment_ms[0]
    # Past twice the network's median, so that deadlines that a busy machine can keep are among them.
    swept = np.append(swept, limit * np.array([1.05, 1.5, 2.5]))
    random = np.random.default_rng(0)
    which = random.permutation(np.resize(np.arange(len(swept)), requests))
    late, exits, lost = np.zeros(requests, bool), np.zeros(requests, int), 0
    for request, index in enumerate(which.tolist()):
        row = request % len(images)
        deadline = Deadline(float(swept[index]), segment_ms=segment_ms)
        answers = classifier.classify(images[row : row + 1], deadline)
        lost += len(answers) != 1
        late[request], exits[request] = answers[0].milliseconds > swept[index], answers[0].exit
    return {
        "requests": requests,
        "segment_p99_ms": list(segment_ms),
        "exit_1_p50_ms": first[50],
        "exit_1_p99_ms": limit,
        "full_p50_ms": full[50],
        "lost": lost,
        **judged(swept, which, late, exits, limit),
    }


def judged(
    deadlines: np.ndarray, which: np.ndarray, late: np.ndarray, exits: np.ndarray, limit: float
) -> dict[str, Any]:
    """How often each deadline was missed; those above `limit` are held where at most 1 % of their requests were late.

    Args:
        deadlines: milliseconds `(D,)`.
        which: the deadline of each request, an index `(N,)`.
        late: whether its answer came after it, bool `(N,)`.
        exits: the exit that answered `(N,)`.
        limit: exit 1's 99th percentile, in milliseconds.
    """
    results = []
    for index in np.argsort(deadlines).tolist():
        own = which == index
        requests, missed = int(own.sum()), int(late[own].sum())
        results.append(
            {
                "deadline_ms": float(deadlines[index]),
                "requests": requests,
                "late": missed / requests,
                "mean_exit": float(exits[own].mean()),
                "held": missed <= MAX_LATE * requests if deadlines[index] > limit else None,
            }
        )
    above = deadlines[which] > limit
    return {
        "requests_above_p99": int(above.sum()),
        "late_above_p99": float(late[above].mean()),
        "held": all(row["held"] is not False for row in results),
        "results": results,
    }


def _be_busy() -> None:
    matrix = np.random.default_rng(0).normal(size=(300, 300))
    while True:
        matrix = np.tanh(matrix @ matrix)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/fashion_mnist-resnet8_mate"))
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--deadlines", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "deadline.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
