"""Where a model is wrong about a sample: arrows of the Stein witness, the force by which the model would move the sample."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from ..closed.kernels import Kernel
from ..errors import ShapeError
from ..metrics.finite_set import witness
from .fields import Limits, around, lattice
from .style import BLUE, GREY, INK, array, dress, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def misfit(
    score: Callable[[Tensor], Tensor],
    x: Float[Tensor, "*rows"],
    *,
    kernel: Kernel | None = None,
    limits: Limits | None = None,
    places: Float[Tensor, "m 2"] | None = None,
    n: int = 25,
    title: str = "where the model would move the sample",
) -> "Figure":
    """Arrows g(v) over the plane, on a ground coloured by how far beyond chance they are: `metrics.witness`.

    ``places`` are marked, such as those that `metrics.places_test` found. White is agreement; the colour starts at z = 2.
    Raises: ShapeError for points that are not of the plane; errors of `metrics.witness`.

    >>> import torch
    >>> x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    >>> len(misfit(lambda x: 1 - x, x, n=5).axes)
    2
    """
    if x.ndim != 2 or x.shape[1] != 2:
        raise ShapeError(f"misfit of x of shape {tuple(x.shape)}: wanted (n, 2); give two columns.")
    limits = limits if limits is not None else around(x)
    grid = lattice(limits, n)
    found = witness(score, x, grid, kernel=kernel)
    z = array(found.z).clamp(min=0).reshape(n, n)
    picture = figure(5.6, 4.8)
    ax = dress(picture.add_subplot(), title=title, xlabel="x₁", ylabel="x₂")
    ax.grid(visible=False)
    left, right, bottom, top = limits
    ground = ax.imshow(
        z.numpy(),
        origin="lower",
        extent=(left, right, bottom, top),
        cmap="Oranges",
        vmin=2,
        vmax=max(6.0, float(z.max())),
    )
    bar = picture.colorbar(ground, ax=ax, shrink=0.8, pad=0.02)
    bar.set_label("standard deviations beyond chance", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7, colors=INK)
    bar.outline.set_visible(False)
    points = array(x)
    ax.scatter(points[:, 0], points[:, 1], s=3, color=GREY, alpha=0.5, linewidths=0, zorder=2)
    arrows = array(found.value)
    longest = max(float(arrows.norm(dim=1).max()), 1e-300)
    ax.quiver(
        *array(grid).T.numpy(),
        *arrows.T.numpy(),
        color=INK,
        angles="xy",
        scale_units="xy",
        scale=longest / (2 * (right - left) / (n - 1)),
        width=0.003,
        zorder=3,
    )
    if places is not None:
        marked = array(places)
        ax.scatter(
            marked[:, 0], marked[:, 1], s=70, marker="*", color=BLUE, edgecolors="white", linewidths=0.6, zorder=4
        )
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    return picture
