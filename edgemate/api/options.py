"""Options that several verbs take, checked the same way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgemate.wording import counted

if TYPE_CHECKING:
    from edgemate.bundle.manifest import Layout
    from edgemate.runtime import AnytimeClassifier
    from edgemate.runtime.backends.tensorrt.options import BatchRange


def check_layouts(given: Sequence[str]) -> tuple[Layout, ...]:
    """The layouts, in the order given. UsageError for unknown ones, none, or one named twice."""
    from typing import get_args

    from edgemate.bundle.manifest import Layout
    from edgemate.errors import UsageError

    known = {str(layout): layout for layout in get_args(Layout)}
    if not given or not set(given) <= set(known) or len(set(given)) != len(given):
        raise UsageError(f"layouts {','.join(given)!r}: name some of {', '.join(known)}, each once, comma-separated")
    return tuple(known[name] for name in given)


def check_tolerance(given: float | None, example: str) -> None:
    """UsageError for a tolerance that is not above 0 and finite."""
    from edgemate.errors import UsageError

    if given is not None and not 0 < given < math.inf:
        raise UsageError(f"tolerance {given:g}: must be above 0 and finite, such as {example}")


def check_batch(batch: int, classifier: AnytimeClassifier, name: str = "batch") -> None:
    """UsageError, which names the option, for more images at a time than the backend takes: they would be split."""
    from edgemate.errors import UsageError

    most = classifier.backend.largest_batch
    if most is not None and batch > most:
        raise UsageError(
            f"{name} {batch}: the engines take at most {counted(most, 'image')}; "
            f"edgemate build {classifier.bundle.path} --batch 1:1:{batch} builds others"
        )


def batch_range(given: str | Sequence[int] | None) -> BatchRange | None:
    """`min:opt:max` or one number as text, or three numbers; None stays None. UsageError for anything else."""
    from edgemate.errors import UsageError
    from edgemate.runtime.backends.tensorrt.options import BatchRange

    if given is None:
        return None
    if isinstance(given, str):
        return BatchRange.parse(given)
    if len(given) != 3:
        raise UsageError(f"batch {tuple(given)}: give three numbers (min, opt, max), such as (1, 1, 8)")
    return BatchRange(*given)


def check_conditional_batch(batch: BatchRange | None, layouts: Sequence[Layout]) -> None:
    """UsageError for batches of several images of the conditional graph alone, whose engine has no batch size."""
    from edgemate.errors import UsageError

    if batch is not None and batch.max > 1 and tuple(layouts) == ("conditional",):
        raise UsageError(
            f"batch {batch}: the conditional graph takes one image at a time; leave it out, or name segments or "
            "prefixes among the layouts"
        )


def frame_size(given: str | Sequence[int] | None) -> tuple[int, int] | None:
    """(height, width) of frames, from `WxH` as text or two numbers; None stays None. UsageError for anything else."""
    import re

    from edgemate.errors import UsageError
    from edgemate.limits import INPUT_SIDE
    from edgemate.wording import shortened

    if given is None:
        return None
    size: tuple[int, ...]
    if isinstance(given, str):
        found = re.fullmatch(r"([0-9]{1,6})[x×]([0-9]{1,6})", given.strip())
        if found is None:
            raise UsageError(f"frame {shortened(given)!r}: give width and height, such as 1920x1080")
        size = (int(found[2]), int(found[1]))
    else:
        size = tuple(given)
    if len(size) != 2 or not 1 <= min(size) <= max(size) <= INPUT_SIDE.most:
        wanted = "width and height, such as 1920x1080" if isinstance(given, str) else "(height, width)"
        raise UsageError(f"frame {given}: give {wanted}, each from 1 to {INPUT_SIDE.most:,} pixels")
    return size[0], size[1]
