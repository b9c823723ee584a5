"""`edgemate models`: names of the networks that exits can be attached to."""

from __future__ import annotations

from typing import Annotated

import typer

from edgemate.cli.console import make_console
from edgemate.cli.progress import Quiet, showing_progress
from edgemate.cli.screen import print_json


def models(
    pattern: Annotated[
        str | None, typer.Argument(help="Such as 'timm/efficientnet*', 'torchvision/*' or 'resnet*', in quotes.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
    quiet: Quiet = False,
) -> None:
    """List networks by name: edgemate's own, and those of timm and torchvision that match a pattern."""
    from edgemate import api

    with showing_progress(quiet) as progress:
        found = api.list_models(pattern, progress=progress)
    if as_json:
        print_json(found.to_json())
        return
    console = make_console()
    for name in found.names:
        console.out(name)
    for prefix, count in found.libraries.items():
        library = prefix.rstrip("/")
        if count is None:
            console.out(f"{prefix}…  {library} is not installed")
        else:
            console.out(f"{prefix}…  {count:,} networks; `edgemate models '{prefix}*'` lists them")
    if pattern is None:
        console.out("my_pkg.my_mod:MyNet  a network of your own")
        console.out("next: edgemate plan NAME")
