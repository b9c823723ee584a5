"""The options by which a user says whom to believe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

TrustedKeys = Annotated[
    Path | None,
    typer.Option(metavar="FILE|FOLDER", help="Public keys: the bundle must be signed by one of them."),
]
TrustEngines = Annotated[
    bool, typer.Option("--trust-engines", help="Run the bundle's engines whoever built them; an engine is code.")
]
AllowPlugins = Annotated[
    bool, typer.Option("--allow-plugins", help="Import the code that the recipe of a run names by dotted paths.")
]
