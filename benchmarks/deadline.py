"""Deadlines beside a busy neighbour: is an answer ever lost, and how often does one come late?

    python benchmarks/deadline.py runs/fashion_mnist-resnet8_mate

Requests of one picture each, with deadlines from half of what exit 1 takes to twice the whole network's time, in random
order, while another process multiplies matrices. The segments are timed beforehand beside the same neighbour, since
the 99th percentile that deadlines are kept by is that of the device as it is used.
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
from edgemate.export import export_run
from edgemate.machine import machine_facts, usable_cores
from edgemate.profiling.pictures import sample_test_split
from edgemate.runs import Run
from edgemate.runtime import AnytimeClassifier, measure_stops

MOST_LATE = 0.01


def main() -> None:
    options = _options()
    run = Run.open(options.run)
    images, _ = sample_test_split(run, 500)
    with tempfile.TemporaryDirectory() as folder:
        bundle = export_run(run, Path(folder) / run.name).bundle
        context = multiprocessing.get_context("spawn")
        neighbour = context.Process(target=_be_busy, daemon=True)
        neighbour.start()
        try:
            with AnytimeClassifier.load(bundle.path, threads=options.threads) as classifier:
                found = _measure(classifier, images, options.requests, options.deadlines, options.repeats)
        finally:
            neighbour.terminate()
            neighbour.join()
    print(
        f"{run.name}: {options.requests:,} requests beside a busy process on {usable_cores()} cores; "
        f"exit 1: p50 {found['exit_1_p50_ms']:.3f}, p99 {found['exit_1_p99_ms']:.3f} ms; "
        f"whole network p50 {found['full_p50_ms']:.3f} ms"
    )
    print(f"{'deadline, ms':>12} {'requests':>9} {'late':>7} {'mean exit':>10}")
    for row in found["results"]:
        print(f"{row['deadline_ms']:>12.3f} {row['requests']:>9} {row['late']:>7.2%} {row['mean_exit']:>10.2f}")
    print(
        f"answers lost: {found['lost']}; late above exit 1's p99: {found['late_above_p99']:.2%} of "
        f"{found['requests_above_p99']:,}: {'held' if found['late_above_p99'] <= MOST_LATE else 'NOT HELD'} "
        f"(at most {MOST_LATE:.0%})"
    )
    files.write_json(
        options.output,
        {"benchmark": "deadline", "run": run.name, "threads": options.threads, "machine": machine_facts(), **found},
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
    above = swept[which] > limit
    return {
        "requests": requests,
        "segment_p99_ms": list(segment_ms),
        "exit_1_p50_ms": first[50],
        "exit_1_p99_ms": limit,
        "full_p50_ms": full[50],
        "lost": lost,
        "requests_above_p99": int(above.sum()),
        "late_above_p99": float(late[above].mean()),
        "results": [
            {
                "deadline_ms": float(swept[index]),
                "requests": int((which == index).sum()),
                "late": float(late[which == index].mean()),
                "mean_exit": float(exits[which == index].mean()),
            }
            for index in np.argsort(swept).tolist()
        ],
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
