"""Run fuzz cases: files that are nearly right, for everything that reads a file.

    python tests/fuzz/run.py --cases 20000 --jobs 2
    python tests/fuzz/run.py --case manifest:17     # one case again, with its traceback

The cases of a seed are always the same. Exit code 1 if a case fails; with every failure
comes the command that repeats it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from fuzzing.targets import make_targets
from fuzzing.worker import run_cases


def main() -> int:
    """The exit code."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="edgemate-fuzz-") as folder:
        os.environ["XDG_CACHE_HOME"] = os.environ["XDG_DATA_HOME"] = str(Path(folder) / "home")
        targets = make_targets(Path(folder))
        names = options.target or list(targets)
        if options.case:
            target, _, seed = options.case.partition(":")
            cases = [(target, int(seed))]
        else:
            first = options.seed * 1_000_000
            cases = [(names[i % len(names)], first + i // len(names)) for i in range(options.cases)]
        print(f"{len(cases)} cases of {', '.join(names)}, seed {options.seed}", flush=True)
        return _report(run_cases(targets, cases, options.jobs))


def _report(results) -> int:
    started, done, failed = time.monotonic(), Counter(), Counter()
    for target, seed, failure in results:
        done[target] += 1
        if failure is not None:
            failed[target] += 1
            print(f"\nFAILED {target}:{seed}: {failure.reason}", flush=True)
            print(f"repeat it: python tests/fuzz/run.py --case {target}:{seed}", flush=True)
    for target, count in done.items():
        print(f"{target:<12} {count:>7} cases, {failed[target]} failed")
    print(f"{done.total()} cases, {failed.total()} failed, {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000, help="in all, in turn of every target")
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes at a time")
    parser.add_argument("--target", action="append", help="only this one; repeatable")
    parser.add_argument("--case", help="TARGET:SEED, one case again")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
