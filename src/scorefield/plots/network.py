"""Variables on a circle and lines between them: a graph that is read at a glance, if it is sparse."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from ..errors import ShapeError
from .style import BLUE, GREY, INK, RED, array, axes, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def network(strengths: Float[Tensor, "d d"], names: Sequence[str] = (), *, title: str = "") -> "Figure":
    """A line for each pair with a strength other than zero, as wide as its size: blue if positive, red if negative.

    Variables without lines are grey. Raises: ShapeError unless there are as many names as variables, or none.

    >>> import torch
    >>> len(network(torch.tensor([[0.0, 0.5], [0.5, 0.0]]), ("a", "b")).axes[0].lines)
    1
    """
    strengths = array(strengths)
    d = len(strengths)
    if names and len(names) != d:
        raise ShapeError(f"network: {len(names)} names for {d} variables: one each, or none.")
    picture = figure(5.0, 5.0)
    ax = axes(picture, title=title)
    places = [(math.sin(2 * math.pi * k / d), math.cos(2 * math.pi * k / d)) for k in range(d)]
    most = max(float(strengths.abs().max()), 1e-300)
    pairs = sorted(
        (abs(float(strengths[i, j])), i, j) for i in range(d) for j in range(i) if float(strengths[i, j]) != 0
    )
    for size, i, j in pairs:
        colour = BLUE if float(strengths[i, j]) > 0 else RED
        ax.plot(
            *zip(places[i], places[j]),
            color=colour,
            linewidth=0.4 + 3.2 * size / most,
            alpha=0.35 + 0.6 * size / most,
            zorder=1,
        )
    linked = {k for _, i, j in pairs for k in (i, j)}
    right, up = ([place[axis] for place in places] for axis in (0, 1))
    ax.scatter(right, up, s=max(12, 900 / d), color=[INK if k in linked else GREY for k in range(d)], zorder=2)
    for k, name in enumerate(names):
        turn = math.degrees(math.atan2(up[k], right[k]))
        turn, side = (turn, "left") if right[k] >= 0 else (turn + 180, "right")
        ax.annotate(
            name,
            (1.06 * right[k], 1.06 * up[k]),
            rotation=turn,
            rotation_mode="anchor",
            ha=side,
            va="center",
            fontsize=8 if d <= 40 else 6,
            color=INK,
        )
    reach = 1.12 + 0.045 * max((len(name) for name in names), default=0)
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return picture
