"""Whether the nodes of a Ray cluster can train: they see the folder of the comparison and have this edgemate."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edgemate import __version__
from edgemate.errors import UsageError

_SECONDS = 120.0
"""A node's first worker takes some seconds to start, more on a busy machine."""

FOLDER = ".nodes"
"""Subfolder of the comparison with the files that nodes look for; it exists only while the engine runs."""


class Node(NamedTuple):
    """What a node answers."""

    host: str
    sees: bool
    version: str


def look(token: str) -> Node:
    """Runs on a node: whether it sees the file."""
    return Node(socket.gethostname(), Path(token).is_file(), __version__)


def check_nodes(ray: Any, nodes: Sequence[str], output: Path) -> str:
    """Ask every node. One that has left the cluster meanwhile is left out.

    Args:
        ray: the library, connected to the cluster.
        nodes: ids of the nodes that trainings fit on.
        output: folder of the comparison.

    Returns:
        Path of a file in that folder, which every node sees.

    Raises:
        UsageError: a node does not see the folder, has another edgemate, or does not answer; or none is left.
    """
    from ray.exceptions import TaskUnschedulableError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    token = (output / FOLDER / uuid.uuid4().hex).absolute()
    token.parent.mkdir(parents=True, exist_ok=True)
    token.touch()
    asked = [
        ray.remote(num_cpus=0, max_retries=1)(look)
        .options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
        .remote(str(token))
        for node in nodes
    ]
    answers = []
    end = time.monotonic() + _SECONDS
    for answer in asked:
        try:
            answers.append(Node(*ray.get(answer, timeout=max(0.0, end - time.monotonic()))))
        except TaskUnschedulableError:  # Ray lists a node for some seconds after it has gone
            continue
        except Exception as error:  # Ray raises several kinds, also what a node raised
            reason = " ".join(str(error).split())[-300:]
            raise UsageError(
                f"engine ray: a node cannot run edgemate: {reason}; install edgemate {__version__} on all nodes"
            ) from error
    if not answers:
        raise UsageError("engine ray: all nodes have left the cluster; start them again, or name another address")
    blind = sorted({node.host for node in answers if not node.sees})
    if blind:
        raise UsageError(
            f"output {output}: not visible from {', '.join(blind)}; choose a folder that all nodes share, at one path"
        )
    for node in answers:
        if node.version != __version__:
            raise UsageError(
                f"engine ray: {node.host} has edgemate {node.version}, this machine {__version__}; install the same one"
            )
    return str(token)
