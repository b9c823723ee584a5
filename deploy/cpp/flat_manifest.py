"""Write what a program in another language needs of a bundle as lines of words, so that it needs no JSON parser.

    python deploy/cpp/flat_manifest.py bundles/digits > digits.txt
    python deploy/cpp/flat_manifest.py bundles/digits --policy fast > digits.txt

One thing a line, its name first:

    input CHANNELS HEIGHT WIDTH
    normalize DIVISOR MEAN … STD …            one mean and one standard deviation per channel
    classes C                                 and then C lines with one label each, as it is
    segment FILE                              the segments, in the order in which they run
    takes NAME …                              of the segment above
    gives NAME …                              likewise; the logits first
    stop confidence|entropy|margin T …        the operating point: a threshold for each exit but the last
    scale S …                                 what the logits of each of these exits are divided by to be compared
    temperature T …                           what those of every exit are divided by for the probability in an answer

Files are relative to the bundle, and their hashes are checked here, not by the program.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from edgemate.bundle import Bundle
from edgemate.calibration import read_operating_points
from edgemate.calibration.operating_points import POLICIES_FILE
from edgemate.errors import EdgemateError, UsageError
from edgemate.policies import FixedExit
from edgemate.policies.score_policy import ScorePolicy
from edgemate.runtime.backends.wiring import wire
from edgemate.wording import shortened


def main() -> None:
    options = _options()
    try:
        lines = list(flat_manifest(Bundle.open(options.bundle), options.policy))  # all of them, or none
        print("\n".join(lines), flush=True)
    except (EdgemateError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(2)  # at a normal end a full standard output would be reported once more


def flat_manifest(bundle: Bundle, policy: str) -> Iterator[str]:
    """The lines. UsageError for a policy or a name that they cannot hold; BundleError as `read_operating_points`."""
    manifest = bundle.manifest
    if "segments" not in manifest.graphs:
        raise UsageError(f"{bundle.path}: has no segments, only {', '.join(manifest.graphs)}; export it with them")
    contract = manifest.input
    if contract.dtype != "float32":
        raise UsageError(f"{bundle.path}: its graphs take {contract.dtype}; export it without --input {contract.dtype}")
    yield f"input {contract.channels} {contract.height} {contract.width}"
    yield _numbers("normalize", (contract.divisor, *contract.mean, *contract.std))
    yield f"classes {len(manifest.classes)}"
    yield from (_one_line(label) for label in manifest.classes)
    segments = manifest.graphs["segments"]
    for graph, step in zip(segments, wire(segments), strict=True):
        bundle.graph(graph)  # which it checks
        yield f"segment {_word(graph.file)}"
        yield f"takes {' '.join(map(_word, step.takes))}"
        yield f"gives {' '.join(map(_word, step.gives))}"
    yield from _stop(bundle, policy)


def _stop(bundle: Bundle, name: str) -> Iterator[str]:
    exits = len(bundle.manifest.exits)
    if name == "full" and not bundle.has(POLICIES_FILE):
        policy, fitted = FixedExit(exits), None
    else:
        points = read_operating_points(bundle)
        policy, fitted = points.get(name).as_policy(), points.temperatures
    temperatures = (1.0,) * exits if fitted is None else tuple(found.temperature for found in fitted)
    if fitted is not None:
        policy = policy.with_temperatures(temperatures[:-1])
    yield _numbers("temperature", temperatures)
    if isinstance(policy, ScorePolicy):
        yield _numbers(f"stop {policy.name}", policy.thresholds(exits))
        yield _numbers("scale", policy.temperatures(exits))
    elif isinstance(policy, FixedExit):
        yield _numbers("stop confidence", policy.confidence_thresholds(exits))
        yield _numbers("scale", (1.0,) * (exits - 1))
    else:
        raise UsageError(f"policy {name!r}: is {policy.name}; this example knows confidence, entropy, margin and fixed")


def _numbers(name: str, values: tuple[float, ...]) -> str:
    return " ".join((name, *(repr(float(value)) for value in values)))


def _word(text: str) -> str:
    if not text.isprintable() or any(one.isspace() for one in text):
        raise UsageError(f"{shortened(text)!r}: has a space, or a character that is not printed")
    return text


def _one_line(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--policy", default="balanced", help="an operating point of the bundle")
    return parser.parse_args()


if __name__ == "__main__":
    main()
