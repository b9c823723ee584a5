"""The options that say where an image stops, for commands that answer images one by one."""

from __future__ import annotations

from typing import Annotated

import typer

OperatingPoint = Annotated[str | None, typer.Option(help="Operating point of the bundle, such as balanced.")]
Threshold = Annotated[
    float | None,
    typer.Option(help="Stop where the probability is above this, 0 to 1.", show_default=False),
]
AlwaysAt = Annotated[int | None, typer.Option(help="Always stop at this exit, counted from 1.")]
DeadlineMs = Annotated[
    float | None,
    typer.Option(help="Per image: stop where the next segment would end later; alone or with one of the above."),
]
