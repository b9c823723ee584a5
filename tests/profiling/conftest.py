"""The small bundle, and the same on every backend."""

from __future__ import annotations

from backends import opener
from bundles import own_bundle, small_bundle

__all__ = ["opener", "own_bundle", "small_bundle"]
