"""Variables on a circle and arrows between them: what causes what."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from .network import network
from .style import BLUE

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def arrows(strengths: Float[Tensor, "d d"], names: Sequence[str] = (), *, title: str = "") -> "Figure":
    """An arrow from i to j for each [i, j] that is positive, as wide as its size. Raises: as `network`.

    >>> import torch
    >>> picture = arrows(torch.tensor([[0.0, 0.5], [0.0, 0.0]]), ("a", "b"))
    >>> len([text for text in picture.axes[0].texts if text.arrow_patch])
    1
    """
    strengths = strengths.detach().cpu().double()
    d, most = len(strengths), max(float(strengths.max()), 1e-300)
    picture = network(0 * strengths, names, title=title)
    places = [(math.sin(2 * math.pi * k / d), math.cos(2 * math.pi * k / d)) for k in range(d)]
    for i, j in strengths.nonzero().tolist():
        share = float(strengths[i, j]) / most
        picture.axes[0].annotate(
            "",
            places[j],
            places[i],
            arrowprops={
                "arrowstyle": "-|>",
                "color": BLUE,
                "alpha": 0.35 + 0.6 * share,
                "linewidth": 0.6 + 2.4 * share,
                "shrinkA": 5,
                "shrinkB": 5,
                "connectionstyle": "arc3,rad=0.08",
            },
        )
    return picture
