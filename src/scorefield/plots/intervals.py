"""Estimates with their intervals, one line each: what is told apart from zero, and from each other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ShapeError
from .style import BLUE, GREY, axes, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def intervals(
    names: Sequence[str],
    values: Sequence[float],
    reach: Sequence[Sequence[float]],
    *,
    xlabel: str = "estimate",
    title: str = "",
) -> "Figure":
    """A dot and a bar from low to high for each name from the top, and a line at zero if it is within sight.

    ``reach`` holds (low, high) pairs in the units of the values. Raises: ShapeError if the sequences differ in length or are empty.

    >>> len(intervals(["a", "b"], [1.0, 2.0], [(0.5, 1.5), (1.0, 3.0)]).axes[0].get_yticks())
    2
    """
    if not len(names) == len(values) == len(reach) > 0:
        raise ShapeError(
            f"intervals of {len(names)} names, {len(values)} values, {len(reach)} pairs: as many of each, and one at least."
        )
    picture = figure(5.6, 0.9 + 0.3 * len(names))
    ax = axes(picture, title=title, xlabel=xlabel)
    place = list(range(len(names)))
    for k, (low, high) in enumerate(reach):
        ax.plot([low, high], [k, k], color=BLUE, linewidth=1.8, solid_capstyle="butt")
    ax.plot(list(values), place, "o", color=BLUE, markersize=5)
    lowest, highest = min(low for low, _ in reach), max(high for _, high in reach)
    if lowest - (highest - lowest) <= 0 <= highest + (highest - lowest):
        ax.axvline(0, color=GREY, linestyle="--", linewidth=1)
    ax.set_yticks(place, list(names))
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    return picture
