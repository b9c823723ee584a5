"""Many classifications in several threads: `python soak.py BUNDLE NUMBER THREADS`; prints a JSON object.

The answers are compared with those of one thread, and the resident memory with that after a warm-up.
"""

from __future__ import annotations

import gc
import json
import random
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

from edgemate.policies import Confidence, Entropy, FixedExit, Margin, Patience, Policy
from edgemate.runtime import AnytimeClassifier

BATCHES = (1, 1, 1, 2, 5, 8)
WARM_UP = 0.1  # of the classifications
POLICIES: tuple[Policy | str | None, ...] = (
    None,
    "fast",
    "balanced",
    "full",
    Confidence(0.8),
    Confidence((0.9, 0.5)),
    Entropy(0.5),
    Margin(0.3),
    Patience(1),
    FixedExit(1),
    FixedExit(2),
)


def soak(bundle: Path, number: int, threads: int, seed: int = 0) -> dict[str, Any]:
    """Classify `number` images in `threads` threads, each with policies and batch sizes in an order of its own."""
    with AnytimeClassifier.load(bundle, threads=1) as classifier:
        images = classifier.bundle.golden().images
        expected = [_answers(classifier, images, policy) for policy in POLICIES]
        classifier.reset_statistics()
        wrong: list[str] = []
        memory: list[int] = []
        warm = threading.Barrier(threads, action=lambda: memory.append(_resident()))

        def work(thread: int) -> None:
            order = random.Random(seed * threads + thread)
            done, mine, warmed = 0, number // threads, False
            while done < mine and not wrong:
                if not warmed and done >= mine * WARM_UP:
                    warm.wait()
                    warmed = True
                which, size = order.randrange(len(POLICIES)), min(order.choice(BATCHES), mine - done)
                chosen = [order.randrange(len(images)) for _ in range(size)]
                found = _answers(classifier, images[chosen], POLICIES[which])
                if not _same(found, [expected[which][index] for index in chosen]):
                    wrong.append(f"thread {thread}, {POLICIES[which]}, images {chosen}")
                    warm.abort()
                done += size

        started = time.monotonic()
        workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        after = _resident()
        return {
            "classifications": number,
            "threads": threads,
            "counted": classifier.statistics().images,
            "different": wrong,
            "resident_mib": round(memory[0] / 2**20, 2) if memory else None,
            "growth_mib": round((after - memory[0]) / 2**20, 2) if memory else None,
            "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "seconds": round(time.monotonic() - started, 1),
        }


def _answers(classifier: AnytimeClassifier, images: Any, policy: Policy | str | None) -> list[tuple[int, int, float]]:
    """Label, exit and probability of each image."""
    return [(one.index, one.exit, one.probability) for one in classifier.classify(images, policy)]


def _same(found: list[tuple[int, int, float]], expected: list[tuple[int, int, float]]) -> bool:
    """Equal labels and exits, and probabilities but for the order in which a batch of another size is added."""
    return len(found) == len(expected) and all(
        one[:2] == other[:2] and abs(one[2] - other[2]) < 1e-5 for one, other in zip(found, expected, strict=True)
    )


def _resident() -> int:
    """Bytes of memory that are this process's now."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    print(json.dumps(soak(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])), indent=2))
