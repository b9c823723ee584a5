"""Where frames come from, one file per kind of source."""

from edgemate.live.sources.base import Source
from edgemate.live.sources.opening import SourceOptions, open_source

__all__ = ["Source", "SourceOptions", "open_source"]
