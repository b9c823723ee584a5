"""How well engines agree with the network, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgemate.cli.console import print_table
from edgemate.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from edgemate.runtime.proof import ExitProof


def print_proofs(layout: str, proofs: Sequence[ExitProof], console: Console) -> None:
    """Print a row per exit: difference from the network on the golden samples, its limit, and latency in ms."""
    from rich.table import Table

    from edgemate.cli.figures import milliseconds, percent

    table = Table(
        title=f"{layout} against the network on {counted(proofs[0].images, 'golden sample')}; ms of one image",
        title_justify="left",
    )
    for column in ("exit", "largest difference", "its limit", "top-1 agreement", "p50", "p90", "p99"):
        table.add_column(column, justify="right")
    for proof in proofs:
        table.add_row(
            str(proof.exit),
            f"{proof.largest_difference:.1e}",
            f"{proof.limit:.1e}",
            percent(proof.agreement),
            *(milliseconds(getattr(proof.latency, figure)) for figure in ("p50", "p90", "p99")),
        )
    print_table(table, console)
