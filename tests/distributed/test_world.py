from __future__ import annotations

import numpy as np
import pytest

from edgemate.distributed.sharding import Sharding
from edgemate.distributed.world import ALONE, STARTED_BY_US, World, current_world, wanted_world
from edgemate.errors import UsageError

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "GROUP_RANK": "1",
}
SLURM = {
    "SLURM_NTASKS": "8",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_JOB_NAME": "train",
}


def test_torchrun_and_slurm_say_which_process_this_is() -> None:
    assert current_world(TORCHRUN) == World(5, 8, 1, 4, 1, 2, "torchrun")
    assert current_world(SLURM) == World(5, 8, 1, 4, 1, 2, "slurm")
    assert current_world({**SLURM, **TORCHRUN, "RANK": "0"}).starter == "torchrun"
    ours = {**TORCHRUN, STARTED_BY_US: "/report"}
    del ours["TORCHELASTIC_RUN_ID"]
    assert current_world(ours).has_parent


@pytest.mark.parametrize(
    "changes",
    [
        {"SLURM_STEP_ID": None},  # the script of sbatch, once for all tasks
        {"SLURM_JOB_NAME": "interactive"},
        {"SLURM_NTASKS": "1"},
    ],
)
def test_a_process_of_slurm_that_srun_has_not_started_is_alone(changes: dict[str, str | None]) -> None:
    environment = {key: value for key, value in {**SLURM, **changes}.items() if value is not None}
    assert current_world(environment) is ALONE
    assert current_world({}) is ALONE


def test_nodes_with_different_numbers_of_tasks_are_refused() -> None:
    with pytest.raises(UsageError, match="7 tasks on 2 nodes; give every node as many"):
        current_world({**SLURM, "SLURM_NTASKS": "7"})


def test_what_is_there_is_used_and_need_not_be_named() -> None:
    world = current_world(TORCHRUN)
    assert wanted_world(None, None, "auto", world) is world
    assert wanted_world(4, 2, "ddp", world) is world
    with pytest.raises(UsageError, match="devices: 2 was asked for, and torchrun has started 4; leave devices out"):
        wanted_world(2, None, "auto", world)
    with pytest.raises(UsageError, match="nodes: 1 was asked for, and torchrun has started 2"):
        wanted_world(None, 1, "auto", world)


def test_what_is_to_be_started() -> None:
    assert wanted_world(None, None, "auto", ALONE, {}) == ALONE
    assert wanted_world(1, 1, "ddp", ALONE, {}) == ALONE
    assert wanted_world(3, None, "auto", ALONE, {}) == World(ranks=3, local_ranks=3)
    places = {"MASTER_ADDR": "a", "MASTER_PORT": "1", "NODE_RANK": "1"}
    assert wanted_world(3, 2, "auto", ALONE, places) == World(3, 6, 0, 3, 1, 2)


@pytest.mark.parametrize(
    ("given", "environment", "message"),
    [
        ((2, 2, "auto"), {"MASTER_ADDR": "a"}, "nodes: 2 machines need MASTER_PORT, NODE_RANK in the environment"),
        ((2, 2, "auto"), {"MASTER_ADDR": "a", "MASTER_PORT": "1", "NODE_RANK": "2"}, "NODE_RANK is '2'; number the 2"),
        ((0, 1, "auto"), {}, "devices: 0 is too few"),
        ((2, 1, "fsdp"), {}, "strategy: 'fsdp' is unknown; use ddp"),
    ],
)
def test_what_cannot_be_started_is_one_line(
    given: tuple[int, int, str], environment: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        wanted_world(*given, ALONE, environment)


@pytest.mark.parametrize("n", [1, 2, 5, 8, 127])
@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_every_image_of_a_split_belongs_to_one_process(n: int, ranks: int) -> None:
    images = list(range(n))
    taken = [images[Sharding(rank, ranks).of_split(n).slice] for rank in range(ranks)]
    assert [image for part in taken for image in part] == images
    assert max(map(len, taken)) - min(map(len, taken)) <= 1


@pytest.mark.parametrize("n", [1, 2, 5, 8, 127])
@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_batches_of_a_split_go_round(n: int, ranks: int, batch_size: int) -> None:
    images = np.random.default_rng(0).permutation(n)
    batches = [images[start : start + batch_size] for start in range(0, n, batch_size)]
    for rank in range(ranks):
        own = Sharding(rank, ranks, in_turns=True).evaluated(images, batch_size)
        assert own.tolist() == [image for batch in batches[rank::ranks] for image in batch]
