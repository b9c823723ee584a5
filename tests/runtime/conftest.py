from __future__ import annotations

from backends import conditional_opener, opener
from bundles import own_bundle, small_bundle

__all__ = ["conditional_opener", "opener", "own_bundle", "small_bundle"]
