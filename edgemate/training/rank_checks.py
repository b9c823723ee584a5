"""What does not go together with several processes or accumulated gradients, found without torch."""

from __future__ import annotations

from collections.abc import Sequence

from edgemate.config import Data, Training
from edgemate.distributed.world import World
from edgemate.errors import RecipeError
from edgemate.training.freezing_checks import method_constant
from edgemate.wording import counted


def check_ranks(
    data: Data,
    training: Training,
    methods: Sequence[str],
    source: str,
    *,
    batch_size: int,
    accumulate: int,
    world: World,
) -> None:
    """Raise RecipeError, with `source` as the recipe's name, where `rank_problems` finds some."""
    problems = rank_problems(data, training, methods, batch_size=batch_size, accumulate=accumulate, world=world)
    if problems:
        raise RecipeError(source, problems)


def rank_problems(
    data: Data, training: Training, methods: Sequence[str], *, batch_size: int, accumulate: int, world: World
) -> list[str]:
    """Settings that exclude the processes of a training or its accumulation, one sentence each.

    Args:
        data: the recipe's section.
        training: likewise.
        methods: names of the distillation methods.
        batch_size: images of a step.
        accumulate: micro-batches of a process per step.
        world: the processes.
    """
    parts = world.ranks * accumulate
    if parts == 1:
        return []
    problems = []
    division = f"{counted(world.ranks, 'process')} × {counted(accumulate, 'micro-batch')}"
    if batch_size % parts or batch_size < 2 * parts:
        fitting = parts * max(2, round(batch_size / parts))
        problems.append(
            f"optimization.batch_size: {batch_size} is not {division} of two images or more, all of one size; set it "
            f"to {fitting}, say"
        )
    unlabeled = data.unlabeled.per_batch if data.unlabeled is not None else None
    if unlabeled is not None and unlabeled % parts:
        problems.append(
            f"data.unlabeled.per_batch: {unlabeled} cannot be divided by {division}; set it to "
            f"{parts * max(1, round(unlabeled / parts))}, say"
        )
    if accumulate > 1:
        problems += [
            f"optimization.accumulate: it calls {method} several times per step, which {method} counts as several "
            "steps; set it to 1"
            for method in methods
            if method_constant(method, "keeps_state")
        ]
    if world.ranks > 1 and training.cuda_graphs:
        problems.append("training.cuda_graphs: a graph does not hold what several processes exchange; set it to false")
    return problems
