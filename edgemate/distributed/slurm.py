"""The processes that SLURM's srun has started, by its environment variables."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping

from edgemate.distributed.variables import Variables, check_port
from edgemate.errors import UsageError

_NEEDED = ("SLURM_JOB_ID", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")
_REMEDY = "start the command with srun, or unset SLURM_STEP_ID for one process"
_FIRST_PORT, _PORTS = 15_000, 10_000


def slurm_tasks(environment: Mapping[str, str]) -> int:
    """How many processes srun has started, this one among them; 1 outside of it.

    A SLURM job counts only where srun has started this process: sbatch runs its script once, whatever the number of
    tasks, and one process would wait for the others forever. Interactive shells of SLURM do not count either.

    Raises:
        UsageError: the variable is no number.
    """
    if "SLURM_STEP_ID" not in environment or environment.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return 1
    return max(1, _read(environment).number("SLURM_NTASKS")) if environment.get("SLURM_NTASKS") else 1


def slurm_place(environment: Mapping[str, str]) -> tuple[int, int, int, int, int, int]:
    """Rank, tasks, rank on the node, tasks of a node, node and nodes of this process, in the order of `World`.

    Raises:
        UsageError: variables are missing or no numbers, or nodes have different numbers of tasks.
    """
    variables = _read(environment)
    variables.check_present(*_NEEDED)
    check_port(environment)
    rank, tasks = variables.number("SLURM_PROCID", below="SLURM_NTASKS"), slurm_tasks(environment)
    named = next((name for name in ("SLURM_STEP_NUM_NODES", "SLURM_NNODES") if environment.get(name)), None)
    nodes = max(1, variables.number(named)) if named is not None else 1
    node, local = variables.number("SLURM_NODEID", below=named), variables.number("SLURM_LOCALID")
    if tasks % nodes or local >= tasks // nodes:
        raise UsageError(f"SLURM: {tasks} tasks on {nodes} nodes; give every node as many, with srun --ntasks-per-node")
    return rank, tasks, local, tasks // nodes, node, nodes


def set_slurm_address(environment: MutableMapping[str, str]) -> None:
    """Set MASTER_ADDR and MASTER_PORT, unless they are: the step's first node, and a port by the job's number.

    Raises:
        UsageError: SLURM does not name the nodes.
    """
    if not environment.get("MASTER_ADDR"):
        listed = next((found for name in ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST")
                       if (found := environment.get(name))), None)  # fmt: skip
        if listed is None:
            raise UsageError(f"SLURM: SLURM_STEP_NODELIST missing from the environment; {_REMEDY}")
        environment["MASTER_ADDR"] = first_host(listed)
    if "MASTER_PORT" not in environment:
        number = re.sub(r"\D", "", environment.get("SLURM_JOB_ID", "")) or "0"
        environment["MASTER_PORT"] = str(_FIRST_PORT + int(number) % _PORTS)


def first_host(listed: str) -> str:
    """The first name in a list of SLURM's: `gpu[08-10,12],cpu1` → `gpu08`."""
    return re.sub(r"\[([^\],-]*)[^\]]*\]", r"\1", listed).split(",")[0].strip()


def _read(environment: Mapping[str, str]) -> Variables:
    return Variables("SLURM", environment, _REMEDY)
