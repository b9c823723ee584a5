"""Exits that are less accurate than an earlier one, and so cost more for less."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgemate.profiling.profile_result import ExitProfile


@dataclass(frozen=True)
class LessAccurate:
    """An exit and the most accurate one before it, which is more accurate.

    Attributes:
        exit: k, 1-based.
        than: the earlier exit, 1-based.
        by: difference of their accuracies, a fraction.
    """

    exit: int
    than: int
    by: float


def less_accurate_exits(exits: Sequence[ExitProfile]) -> list[LessAccurate]:
    """The exits whose accuracy is below that of an earlier one, in order."""
    found: list[LessAccurate] = []
    best: ExitProfile | None = None
    for exit in exits:
        if best is not None and exit.accuracy < best.accuracy:
            found.append(LessAccurate(exit.exit, best.exit, best.accuracy - exit.accuracy))
        else:
            best = exit
    return found


def less_accurate_json(exits: Sequence[ExitProfile]) -> dict[str, Any]:
    """Both of what follows as JSON values."""
    return {"exits": [asdict(one) for one in less_accurate_exits(exits)], "warning": less_accurate_warning(exits)}


def less_accurate_warning(exits: Sequence[ExitProfile]) -> str | None:
    """A sentence about these exits and what to do; None where accuracy never falls."""
    found = less_accurate_exits(exits)
    if not found:
        return None
    named = {exit.exit: exit for exit in exits}
    said = ", ".join(
        f"exit {one.exit} ({named[one.exit].name}) is {100 * one.by:.2g} points less accurate than exit {one.than} "
        f"({named[one.than].name})"
        for one in found
    )
    last = found[-1]
    if last.exit != exits[-1].exit:
        return f"{said}; leave such an exit out of exits.at, or train longer"
    kept = ", ".join(exit.name for exit in exits[: last.than])
    return (
        f"{said}; the network may end at exit {last.than} (exits: {{at: [{kept}], final: new}}), or a larger "
        "data.image_size may help its later stages"
    )
