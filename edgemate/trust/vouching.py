"""What vouches for a bundle's engines, which are code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgemate.trust.ledger import Ledger

BUILT_HERE = "built here"
SIGNED = "signed by a trusted key"
USERS_WORD = "the user's word"


@dataclass(frozen=True)
class Trust:
    """What the user said of one bundle.

    Attributes:
        engines: its engines may be run whoever built them.
        signed: path → SHA-256 of the files that a trusted key has signed, all of them checked; empty without one.
        signer: identifier of that key.
    """

    engines: bool = False
    signed: Mapping[str, str] = field(default_factory=dict)
    signer: str | None = None

    def voucher(self, engine: tuple[str, str], metadata: tuple[str, str]) -> str | None:
        """What vouches for an engine; None if nothing does.

        Args:
            engine: path and SHA-256 of the file that was read.
            metadata: the same of the JSON beside it, which says how to open it.
        """
        if all(self.signed.get(path) == found for path, found in (engine, metadata)):
            return SIGNED
        if self.engines:
            return USERS_WORD
        return BUILT_HERE if Ledger.of_this_user().knows(engine[1], metadata[1]) else None
