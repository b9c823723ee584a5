"""Numbers in environment variables by which starters of processes say which process this is."""

from __future__ import annotations

from collections.abc import Mapping

from edgemate.errors import UsageError

PORT = "MASTER_PORT"


class Variables:
    """The variables of one starter.

    Args:
        starter: its name, for errors.
        environment: all variables.
        remedy: what to do without it, for errors.
    """

    def __init__(self, starter: str, environment: Mapping[str, str], remedy: str) -> None:
        self._starter, self._environment, self._remedy = starter, environment, remedy

    def check_present(self, *names: str) -> None:
        """UsageError if one is absent or empty: then the starter has not started this process."""
        missing = [name for name in names if not self._environment.get(name)]
        if missing:
            raise UsageError(f"{self._starter}: {', '.join(missing)} missing from the environment; {self._remedy}")

    def number(self, name: str, below: str | None = None) -> int:
        """The whole number of 0 or more in a variable; UsageError if it is none, or not below that in another."""
        text = self._environment.get(name, "")
        if not (text.isascii() and text.isdecimal()):
            raise UsageError(f"{self._starter}: {name} is {text!r}, not a whole number; {self._remedy}")
        value = int(text)
        if below is not None and value >= self.number(below):
            raise UsageError(f"{self._starter}: {name} is {value}, and {below} is {self.number(below)}; {self._remedy}")
        return value


def check_port(environment: Mapping[str, str]) -> None:
    """UsageError if MASTER_PORT is there, but no port."""
    text = environment.get(PORT)
    if text is not None and not (text.isascii() and text.isdecimal() and 0 < int(text) < 1 << 16):
        raise UsageError(f"{PORT} is {text!r}; set it to a port from 1 to 65535, the same on all machines")
