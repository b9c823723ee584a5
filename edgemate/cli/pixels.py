"""The option that says which pixels large images become."""

from __future__ import annotations

from typing import Annotated

import typer

ExactPixels = Annotated[
    bool,
    typer.Option("--exact-pixels", help="Give very large images the pixels of training, which takes longer."),
]
