from __future__ import annotations

import numpy as np
import pytest

from edgemate.distributed.sharding import Sharding
from edgemate.distributed.slurm import first_host, set_slurm_address
from edgemate.distributed.world import ALONE, STARTED_BY_US, World, current_world, wanted_world
from edgemate.errors import UsageError
from edgemate.training.rank_strategy import environment_of

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "GROUP_RANK": "1",
    "MASTER_ADDR": "a",
    "MASTER_PORT": "1",
}
SLURM = {
    "SLURM_JOB_ID": "123456",
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


@pytest.mark.parametrize("there", [TORCHRUN, SLURM, {**TORCHRUN, STARTED_BY_US: "/report"}])
def test_a_part_of_the_variables_is_one_line_that_names_the_others(there: dict[str, str]) -> None:
    for name in there:
        if name in ("TORCHELASTIC_RUN_ID", "SLURM_STEP_ID", "SLURM_NTASKS", "SLURM_STEP_NUM_NODES", "SLURM_JOB_NAME"):
            continue
        if name == STARTED_BY_US:
            continue
        for left in ({**there, name: ""}, {key: value for key, value in there.items() if key != name}):
            with pytest.raises(UsageError, match=rf"^[\w ]+: {name} missing from the environment; .* for one process$"):
                current_world(left)


@pytest.mark.parametrize(
    ("there", "name", "value", "message"),
    [
        (TORCHRUN, "WORLD_SIZE", "many", "torchrun: WORLD_SIZE is 'many', not a whole number; unset TORCHELASTIC_RUN"),
        (TORCHRUN, "RANK", "8", "torchrun: RANK is 8, and WORLD_SIZE is 8"),
        (TORCHRUN, "LOCAL_RANK", "-1", "torchrun: LOCAL_RANK is '-1', not a whole number"),
        (TORCHRUN, "LOCAL_WORLD_SIZE", "0", "torchrun: LOCAL_RANK is 1, and LOCAL_WORLD_SIZE is 0"),
        (TORCHRUN, "MASTER_PORT", "x", "MASTER_PORT is 'x'; set it to a port from 1 to 65535"),
        (SLURM, "SLURM_NTASKS", "abc", "SLURM: SLURM_NTASKS is 'abc', not a whole number; start the command with srun"),
        (SLURM, "SLURM_PROCID", "9", "SLURM: SLURM_PROCID is 9, and SLURM_NTASKS is 8"),
        (SLURM, "SLURM_NODEID", "2", "SLURM: SLURM_NODEID is 2, and SLURM_STEP_NUM_NODES is 2"),
        (SLURM, "SLURM_LOCALID", "4", "8 tasks on 2 nodes; give every node as many"),
        (SLURM, "MASTER_PORT", "99999", "MASTER_PORT is '99999'; set it to a port from 1 to 65535"),
    ],
)
def test_variables_that_make_no_sense_are_one_line(there: dict[str, str], name: str, value: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        current_world({**there, name: value})


def test_slurm_needs_no_number_of_tasks_per_node_and_says_where_rank_0_is() -> None:
    # Lightning's own class refuses `srun --ntasks 8`, which sets no SLURM_NTASKS_PER_NODE.
    assert "SLURM_NTASKS_PER_NODE" not in SLURM
    lightning = environment_of(current_world(SLURM))
    assert (lightning.world_size(), lightning.global_rank()) == (8, 5)
    assert (lightning.local_rank(), lightning.node_rank()) == (1, 1)
    there = {**SLURM, "SLURM_STEP_NODELIST": "gpu[08-09]", "SLURM_JOB_NODELIST": "cpu1,gpu[08-09]"}
    set_slurm_address(there)
    assert (there["MASTER_ADDR"], there["MASTER_PORT"]) == ("gpu08", "18456")
    given = {**there, "MASTER_ADDR": "mine", "MASTER_PORT": "7"}
    set_slurm_address(given)
    assert (given["MASTER_ADDR"], given["MASTER_PORT"]) == ("mine", "7")
    with pytest.raises(UsageError, match="SLURM_STEP_NODELIST missing"):
        set_slurm_address(dict(SLURM))


@pytest.mark.parametrize(
    ("listed", "first"),
    [
        ("a", "a"),
        ("a,b", "a"),
        ("gpu[1,3]", "gpu1"),
        ("gpu[08-10,12],a", "gpu08"),
        ("r[1-2]n[3-4]", "r1n3"),
        ("g[7]", "g7"),
    ],
)
def test_the_first_host_of_a_list(listed: str, first: str) -> None:
    assert first_host(listed) == first


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
        ((2, 2, "auto"), {"MASTER_ADDR": "", "MASTER_PORT": "1", "NODE_RANK": "1"}, "machines need MASTER_ADDR in"),
        ((2, 2, "auto"), {"MASTER_ADDR": "a", "MASTER_PORT": "abc", "NODE_RANK": "1"}, "MASTER_PORT is 'abc'; set it"),
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
