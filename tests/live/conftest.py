from __future__ import annotations

from bundles import own_bundle, small_bundle
from videos import video

__all__ = ["own_bundle", "small_bundle", "video"]
