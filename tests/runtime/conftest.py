from __future__ import annotations

from backends import conditional_opener, mixing_opener, opener
from bundles import own_bundle, small_bundle

__all__ = ["conditional_opener", "mixing_opener", "opener", "own_bundle", "small_bundle"]
