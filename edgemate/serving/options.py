"""What a server is told when it is started."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgemate.errors import UsageError
from edgemate.limits import BATCH


@dataclass(frozen=True)
class ServeOptions:
    """How a bundle is served.

    Attributes:
        host: the address to listen at. The default can be reached from this machine only.
        port: 0 takes any that is free.
        policy: the operating point of requests that choose none; None runs the whole network.
        policies: the operating points that a request may choose; None for all of the bundle's, () for none.
        deadline_ms: milliseconds from the arrival of a request to its answer, of requests that choose none, and the
            most that one may choose; None for no deadline, and then no request may have one.
        max_batch: images that go through the network at a time, and the most in one request.
        max_wait_ms: how long the first image of a batch waits for others.
        max_queue: images that are accepted and not yet answered; further requests get status 503.
        timeout_s: seconds for a request's head, for its body, and for its answer to be taken by the client.

    Raises:
        UsageError: a number out of range, or an empty host.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    policy: str | None = None
    policies: tuple[str, ...] | None = None
    deadline_ms: float | None = None
    max_batch: int = 8
    max_wait_ms: float = 2.0
    max_queue: int = 128
    timeout_s: float = 20.0

    def __post_init__(self) -> None:
        if not self.host.strip():
            raise UsageError("host: must not be empty; 127.0.0.1 is this machine only, 0.0.0.0 every network it has")
        if not 0 <= self.port <= 65535:
            raise UsageError(f"port: must be from 0 to 65535, not {self.port}")
        if self.deadline_ms is not None and not 0 < self.deadline_ms < math.inf:
            raise UsageError(f"deadline_ms: must be above 0 and finite, not {self.deadline_ms:g}")
        if not 1 <= self.max_batch <= BATCH.most:
            raise UsageError(f"max_batch: must be from 1 to {BATCH.most:,}, not {self.max_batch}")
        if not 0 <= self.max_wait_ms <= 60_000:
            raise UsageError(f"max_wait_ms: must be from 0 to 60,000, not {self.max_wait_ms:g}")
        if not self.max_batch <= self.max_queue <= 1_000_000:
            raise UsageError(f"max_queue: must be from max_batch, {self.max_batch}, to 1,000,000, not {self.max_queue}")
        if not 0 < self.timeout_s <= 3600:
            raise UsageError(f"timeout_s: must be above 0 and at most 3,600, not {self.timeout_s:g}")
