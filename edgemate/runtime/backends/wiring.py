"""Which tensors each segment takes, gives, and is the last to need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgemate.bundle import Graph


@dataclass(frozen=True)
class Step:
    """One segment's tensors, by name.

    `takes` are its inputs; `gives` the outputs worth fetching, the logits first; `done` those that no later segment
    takes, so that they need not be kept or compacted.
    """

    takes: tuple[str, ...]
    gives: tuple[str, ...]
    done: tuple[str, ...]


def wire(segments: Sequence[Graph]) -> tuple[Step, ...]:
    """The steps of a whole pass, from the manifest's segments in order."""
    taken_later: list[set[str]] = [set()]
    for graph in reversed(segments):
        taken_later.append(taken_later[-1] | {tensor.name for tensor in graph.inputs})
    taken_later.reverse()
    steps = []
    live = {tensor.name for tensor in segments[0].inputs}
    for graph, later in zip(segments, taken_later[1:], strict=True):
        logits = f"logits_{graph.exit}"
        features = tuple(tensor.name for tensor in graph.outputs if tensor.name in later and tensor.name != logits)
        live |= {logits, *features}
        steps.append(
            Step(
                takes=tuple(tensor.name for tensor in graph.inputs),
                gives=(logits, *features),
                done=tuple(sorted(live - later)),
            )
        )
        live &= later
    return tuple(steps)
