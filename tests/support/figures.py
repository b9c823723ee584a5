"""What a matplotlib figure shows, beside its pixels."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def drawn_axes(plot: ModuleType, draw: Callable[[], object]) -> list[Axes]:
    """The axes of the one figure that `draw` makes with the module's `Figure`."""
    figures: list[Figure] = []

    class Kept(Figure):
        def __init__(self, *given: object, **options: object) -> None:
            super().__init__(*given, **options)  # type: ignore[arg-type]
            figures.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plot, "Figure", Kept)
        draw()
    (figure,) = figures
    return figure.axes


def shown_labels(axes: Axes, which: str) -> list[str]:
    """The labels of the ticks on axis x or y that lie within its limits."""
    axis = getattr(axes, f"{which}axis")
    low, high = sorted(axis.get_view_interval())
    places = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
    return [label.get_text() for place, label in places if low <= place <= high]
