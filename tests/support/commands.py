"""Running one command of the command line in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.testing import CliRunner, Result


def invoke(command: Callable[..., None], *arguments: Any) -> Result:
    """What came of the command; an EdgemateError is in `.exception`."""
    app = typer.Typer()
    app.command()(command)
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(argument) for argument in arguments])
