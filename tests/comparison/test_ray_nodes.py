"""What the nodes of a Ray cluster answer, over a fake cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

from edgemate import __version__
from edgemate.comparison.engines.ray_nodes import Node, check_nodes
from edgemate.errors import UsageError


class FakeRay:
    """Gives the answers of nodes in order; an exception is raised where its answer is waited for."""

    def __init__(self, *answers: Node | Exception) -> None:
        self._answers = iter(answers)

    def remote(self, *token: str, **resources: Any) -> Any:
        """A function's task as Ray makes it, or, given the token, what the node answers."""
        return next(self._answers) if token else lambda function: self

    def options(self, scheduling_strategy: Any) -> FakeRay:
        return self

    def get(self, answer: Node | Exception, timeout: float) -> Node:
        assert 0 <= timeout <= 120
        if isinstance(answer, Exception):
            raise answer
        return answer


def gone() -> Exception:
    from ray.exceptions import TaskUnschedulableError

    return TaskUnschedulableError("The node doesn't exist any more.")


HERE = Node("here", True, __version__)


def test_a_node_that_has_left_is_left_out(tmp_path: Path) -> None:
    assert Path(check_nodes(FakeRay(gone(), HERE), ["1" * 56, "2" * 56], tmp_path)).is_file()
    with pytest.raises(UsageError, match="all nodes have left the cluster"):
        check_nodes(FakeRay(gone()), ["1" * 56], tmp_path)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (RuntimeError("no such module"), "a node cannot run edgemate: no such module; install edgemate"),
        (Node("there", False, __version__), "not visible from there"),
        (Node("there", True, "0.0.1"), "there has edgemate 0.0.1, this machine"),
    ],
)
def test_a_node_that_cannot_train_is_named(tmp_path: Path, answer: Node | Exception, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_nodes(FakeRay(HERE, answer), ["1" * 56, "2" * 56], tmp_path)
