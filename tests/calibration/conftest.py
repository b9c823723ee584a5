from __future__ import annotations

from bundles import own_bundle, small_bundle

__all__ = ["own_bundle", "small_bundle"]
