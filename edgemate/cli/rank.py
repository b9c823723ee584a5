"""A command that is one of several processes that train together: what it prints, and where its errors go."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edgemate.distributed.world import COMMAND, World, current_world
from edgemate.errors import EdgemateError


@dataclass(frozen=True)
class Rank:
    """This process among those that train together.

    Attributes:
        world: all of them.
    """

    world: World

    @classmethod
    def current(cls) -> Rank:
        """The process that this is. One that another `edgemate` has started ends with it from now on."""
        rank = cls(current_world())
        if rank.world.has_parent:
            from edgemate.distributed.launching import end_with_parent

            end_with_parent()
            # A run keeps the command that its user has given.
            sys.argv = json.loads(os.environ.get(COMMAND, "null")) or sys.argv
        return rank

    @property
    def shows(self) -> bool:
        """Whether it shows its progress."""
        return self.world.first

    @property
    def prints(self) -> bool:
        """Whether it prints the result: rank 0, or the `edgemate` that has started all of them."""
        return self.world.first and not self.world.has_parent

    @contextmanager
    def errors_reported(self) -> Iterator[None]:
        """Hand an error to the `edgemate` that has started this process, if one has, and end without a word."""
        try:
            yield
        except EdgemateError as error:
            if not self.world.has_parent:
                raise
            from edgemate.distributed.launching import report_to_parent

            report_to_parent(error)
            _end(2)
        except KeyboardInterrupt:
            if not self.world.has_parent:
                raise
            _end(130)


def _end(code: int) -> None:
    """End at once: threads of a library may wait for processes that are gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
