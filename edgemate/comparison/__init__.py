"""Methods against each other: the same network, data, schedule and order of pictures; only the objective differs."""

from edgemate.comparison.compare import compare
from edgemate.comparison.result import Comparison, MethodFigures, RunFigures
from edgemate.comparison.variants import Variant, parse_variants

__all__ = ["Comparison", "MethodFigures", "RunFigures", "Variant", "compare", "parse_variants"]
