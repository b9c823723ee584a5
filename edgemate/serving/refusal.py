"""A request that is not answered, and why."""

from __future__ import annotations


class RefusedError(Exception):
    """Ends a request with an HTTP status and one line of JSON.

    Args:
        status: 400 to 599.
        message: one line for the client, without paths of this machine.
        headers: of the response, such as Retry-After.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


def bad(message: str) -> RefusedError:
    """What the client sent cannot be used: status 400."""
    return RefusedError(400, message)
