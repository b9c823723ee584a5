"""Flags in messages: the library names its options, the command line its flags."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Options of the library whose flag has another name.
_OTHER_NAMES = {
    "overwrite": "force",
    "tf32": "no_tf32",
    "compute_capabilities": "compute_capability",
    "device_specs": "device_spec",
}


def name_flags(message: str, command: Any, arguments: Sequence[str]) -> str:
    """The message with the flags of the subcommand that was run in place of the library's names of options.

    A name is replaced where it is the subject (`tolerance 0: must be above 0`), in backticks (`` `overwrite` ``), or
    where it has an underscore and so is no word of English. Without backticks it is left where it is also the value of
    an argument, such as a folder.

    Args:
        message: of an EdgemateError.
        command: the whole command, as `typer.main.get_command` makes it.
        arguments: what it was run with, the subcommand first.
    """
    flags, given = _flags(command, arguments)

    def flag(found: re.Match[str]) -> str:
        return flags.get(found[1], found[0])

    message = re.sub(r"`(\w+)`", flag, message)
    flags = {name: flag for name, flag in flags.items() if name not in given}
    message = re.sub(r"^(\w+)(?=:| \d| -\d| -?inf\b| nan\b| '| must )", flag, message)
    return re.sub(r"(?<![\w./=-])([a-z]+(?:_[a-z]+)+)(?![\w./=-])", flag, message)


def _flags(command: Any, arguments: Sequence[str]) -> tuple[dict[str, str], set[str]]:
    """Option → flag of the subcommand, and the values that it was given, paths as messages show them.

    Typer brings its own click, so there is no type to name here.
    """
    rest = list(arguments)
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    flags = {
        parameter.name: max(parameter.opts, key=len)
        for parameter in command.params
        if any(name.startswith("--") for name in parameter.opts)
    }
    flags |= {library: flags[own] for library, own in _OTHER_NAMES.items() if own in flags}
    return flags, {str(Path(value)) for argument in rest for value in (argument, argument.partition("=")[2])}
