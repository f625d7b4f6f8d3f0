"""What a run looks like: images as images, points of the plane as points, anything else by its two widest directions.

The two directions are the first right singular vectors of the centred data: what is drawn is an exact projection.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from .. import plots
from ..samplers import State

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = Float[Tensor, "n *event"]


def are_images(shape: tuple[int, ...]) -> bool:
    """Whether events of this shape are pictures: one or three channels of at least 2 × 2 pixels.

    >>> are_images((1, 28, 28)), are_images((2,))
    (True, False)
    """
    return len(shape) == 3 and shape[0] in (1, 3) and min(shape[1:]) > 1


def plane(data: Rows) -> Callable[[Rows], Float[Tensor, "rows 2"]]:
    """x -> its two coordinates to draw: itself in the plane, else along the two widest directions of the data.

    >>> plane(torch.tensor([[0.0, 0.0, 0.0], [0.0, 3.0, 0.0], [1.0, 0.0, 0.0]]))(torch.zeros(4, 3)).shape
    torch.Size([4, 2])
    """
    flat = data.flatten(1)
    if flat.shape[1] == 2:
        return lambda x: x.flatten(1).cpu()
    if flat.shape[1] == 1:
        return lambda x: torch.cat([x.flatten(1).cpu(), torch.linspace(0, 1, len(x))[:, None].to(x.dtype)], 1)
    centre = flat.mean(0)
    axes = torch.linalg.svd(flat[:4096] - centre, full_matrices=False).Vh[:2].T
    return lambda x: (x.flatten(1).cpu() - centre) @ axes


def samples(drawn: Rows, data: Float[Tensor, "m *event"], *, title: str = "") -> "Figure":
    """Sixteen images in a grid, or points beside as many rows of the data."""
    if are_images(tuple(drawn.shape[1:])):
        return plots.grid(drawn[:16], columns=4, title=title)
    project = plane(data)
    return plots.scatter(project(drawn), project(data[: len(drawn)]), title=title)


def walk(states: list[State], data: Rows, *, title: str = "") -> "Figure":
    """How the samples form, from noise on the left to data on the right."""
    times = [float(state.t) for state in states]
    if are_images(tuple(data.shape[1:])):
        return plots.walk([state.x for state in states], times=times, title=title)
    project = plane(data)
    return plots.walk([project(state.x) for state in states], times=times, columns=7, title=title)


def save(picture: "Figure", path: Path) -> Path:
    """Write the figure, whole or not at all. Raises: StorageError."""
    return plots.save(picture, path)
