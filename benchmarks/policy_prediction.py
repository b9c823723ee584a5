"""Compare the accuracy and time predicted by calibration with those measured on the test split in ONNX Runtime.

    python benchmarks/policy_prediction.py runs/fashion_mnist-resnet8_mate

The run is exported, its exits are timed as by `edgemate bench --device`, thresholds are calibrated with these times,
and every test image is classified, one at a time. Use an idle machine: times under other load predict nothing.

Accuracy on the calibration split and on the test split differ by chance; the standard error of their gap is shown
beside it. The drop below the whole network is measured on the same images in each case, so prediction and measurement
of the drop can be much closer.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgemate import files
from edgemate.calibration import DEFAULT_REQUESTS, CalibrationOptions, OperatingPoint, Request, calibrate_bundle
from edgemate.data import load_source, tested_indices
from edgemate.exporting import export_run
from edgemate.latency_tables import write_latency_table
from edgemate.machine import machine_metadata
from edgemate.monitoring import accuracy_gap
from edgemate.runs import Run
from edgemate.runtime import AnytimeClassifier, Measured, evaluate_policy, measure_stops

MAX_POINTS = 0.5
MAX_TIME = 0.10


def main() -> None:
    options = _options()
    run = Run.open(options.run)
    section = run.read_recipe().data
    test = load_source(section.name, section.options, skip_damaged=section.skip_damaged).test
    chosen = tested_indices(test.labels, section.test_limit)[: options.images]
    count = len(chosen)
    images = [test.image(int(i)) for i in chosen]
    requests = (*DEFAULT_REQUESTS, Request("guaranteed", risk=0.01))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        bundle = export_run(run, Path(folder) / run.name).bundle
        with AnytimeClassifier.load(bundle.path, threads=options.threads) as classifier:
            table = measure_stops(classifier, bundle.golden().images, device="here", repeats=options.repeats)
        write_latency_table(bundle, table)
        points = calibrate_bundle(bundle.path, CalibrationOptions(requests), device="here").points
        with AnytimeClassifier.load(bundle.path, threads=options.threads) as classifier:
            for point in points.points:
                [found] = evaluate_policy(classifier, images, test.labels[chosen], point.name, batches=(1,))
                rows.append(_row(point, found))
    add_drops(rows)
    print(f"{run.name}: {count:,} test images, batch 1, ONNX Runtime, {options.threads} thread")
    print(
        f"{'':<11} {'predicted':>13} {'measured':>8} {'points':>15} {'drop pred.':>10} {'meas.':>6} "
        f"{'mean ms pred.':>13} {'meas.':>7} {'gap':>7}"
    )
    for row in rows:
        points = f"{row['points']:+.2f} ± {row['standard_error']:.2f}"
        print(
            f"{row['name']:<11} {row['accuracy_predicted']:>13.2%} {row['accuracy']:>8.2%} {points:>15} "
            f"{row['drop_predicted']:>10.2f} {row['drop']:>6.2f} "
            f"{row['mean_ms_predicted']:>13.3f} {row['mean_ms']:>7.3f} {row['time_gap']:>+7.1%}"
        )
    print("points: measured minus predicted accuracy, ± standard error; drop: points below the whole network")
    accuracy_held = all(abs(row["points"]) <= MAX_POINTS for row in rows)
    time_held = all(abs(row["time_gap"]) <= MAX_TIME for row in rows)
    print(f"accuracy within {MAX_POINTS} points: {'held' if accuracy_held else 'NOT HELD'}")
    print(f"mean time within {MAX_TIME:.0%}: {'held' if time_held else 'NOT HELD'}")
    files.write_json(
        options.output,
        {
            "benchmark": "policy_prediction",
            "run": run.name,
            "images": count,
            "threads": options.threads,
            "machine": machine_metadata(),
            "accuracy_held": accuracy_held,
            "time_held": time_held,
            "results": rows,
        },
    )
    sys.exit(not (accuracy_held and time_held))


def add_drops(rows: list[dict[str, Any]]) -> None:
    """Add `drop_predicted` and `drop` to every row: points below the row `full`."""
    [full] = [row for row in rows if row["name"] == "full"]
    for row in rows:
        row["drop_predicted"] = 100 * (full["accuracy_predicted"] - row["accuracy_predicted"])
        row["drop"] = 100 * (full["accuracy"] - row["accuracy"])


def _row(point: OperatingPoint, found: Measured) -> dict[str, Any]:
    expected = point.expected
    gap = accuracy_gap(expected.accuracy, point.images, found.accuracy, found.statistics.images)
    return {
        "name": point.name,
        "accuracy_predicted": expected.accuracy,
        "accuracy": found.accuracy,
        "points": 100 * gap.gap,
        "standard_error": 100 * gap.standard_error,
        "beyond_two_standard_errors": gap.beyond_chance,
        "mean_ms_predicted": expected.mean_ms,
        "mean_ms": found.latency.mean,
        "time_gap": found.latency.mean / expected.mean_ms - 1,
        "p99_ms_predicted": expected.p99_ms,
        "p99_ms": found.latency.p99,
        "fractions_predicted": list(expected.fractions),
        "fractions": list(found.statistics.fractions),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/fashion_mnist-resnet8_mate"))
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "policy_prediction.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
