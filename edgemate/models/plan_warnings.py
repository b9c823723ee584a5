"""What to look at in a plan before anything is trained."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from edgemate.models.plan_result import PlannedCut

SMALL_MAP = 2
"""Height and width of a last feature map that leaves a network little to see."""


def plan_warnings(
    network: str, head: str, cuts: Sequence[PlannedCut], size: tuple[int, int], usual: tuple[int, int]
) -> Iterator[str]:
    """A sentence for everything in a plan that may make exits less accurate or dearer than need be.

    Args:
        network: its name.
        head: name of the heads.
        cuts: every cut point, in order.
        size: (height, width) of the image.
        usual: what the network is meant for.
    """
    yield from _small_last_map(network, cuts, size, usual)
    yield from _dear_heads(head, cuts)


def _small_last_map(
    network: str, cuts: Sequence[PlannedCut], size: tuple[int, int], usual: tuple[int, int]
) -> Iterator[str]:
    """A network gets images so small that its last layers see next to no places."""
    if max(size) >= min(usual):
        return
    maps = [(cut, cut.side) for cut in cuts if cut.side is not None]
    # Pooled features may be kept as a map of 1×1: the last map is the one before.
    last = next((found for found in reversed(maps) if max(found[1]) > 1), None)
    if last is None or max(last[1]) > SMALL_MAP:
        return
    larger = next((cut for cut, side in reversed(maps) if min(side) > SMALL_MAP), None)
    factor = -(-2 * SMALL_MAP // min(last[1]))
    side = min(factor * max(size), min(usual))
    end, worse = "", "every exit may be less accurate than it could be"
    if larger is not None:
        worse = f"later exits may be less accurate than one at {larger.name} ({_shown(larger)})"
        earlier = [cut.name for cut in cuts[: cuts.index(larger)] if cut.exit is not None]
        end = f"end there (exits: {{at: [{', '.join([*earlier, larger.name])}], final: new}}), or "
    yield (
        f"images of {size[0]}×{size[1]} leave a last feature map of {_shown(last[0])}, and {network} is meant for "
        f"{usual[0]}×{usual[1]}: {worse}; {end}set an image size of {side} or more"
    )


def _dear_heads(head: str, cuts: Sequence[PlannedCut]) -> Iterator[str]:
    """A head costs more than the stage before it, so that stopping there saves little."""
    exits = [cut for cut in cuts if cut.exit is not None]
    for before, cut in itertools.pairwise([None, *exits]):
        assert cut is not None
        stage = cut.macs - (before.macs if before else 0)
        if cut.own_classifier or cut.head_macs is None or cut.head_macs <= stage:
            continue
        advice = "place it at another cut" + ("" if head == "linear" else ", or use the head linear")
        yield (
            f"exit {cut.exit} at {cut.name}: its {head} head has {cut.head_macs / 1e6:.3g} M MACs, more than the stage "
            f"before it ({stage / 1e6:.3g} M); {advice}"
        )


def _shown(cut: PlannedCut) -> str:
    return "×".join(map(str, cut.side or ()))
