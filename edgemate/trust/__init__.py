"""Whom to believe: files opened without following links, what this machine built, keys, signatures, packed bundles."""

from edgemate.trust.folder import GuardedFolder
from edgemate.trust.ledger import Ledger
from edgemate.trust.vouching import Trust

__all__ = ["GuardedFolder", "Ledger", "Trust"]
