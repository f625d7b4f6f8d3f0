"""The score in the plane: arrows along ∇log p(x), over the contours of log p(x).

Arrows point along s(x) exactly. Their length is compressed to log(1 + 4‖s‖/m), m being the median of ‖s‖, because
scores grow without bound away from the data; the colour tells ‖s‖ itself.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError, ShapeError
from .style import BLUE, GREY, INK, RED, array, axes, dress, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

Limits = tuple[float, float, float, float]


def field(
    score: Callable[[Tensor], Tensor],
    *,
    limits: Limits = (-3.0, 3.0, -3.0, 3.0),
    points: Float[Tensor, "n 2"] | None = None,
    log_density: Callable[[Tensor], Tensor] | None = None,
    n: int = 25,
    title: str = "score ∇log p",
    ax: "Axes | None" = None,
) -> "Figure":
    """Arrows along s(x) on an n × n grid, coloured by ‖s(x)‖, over contours of log p(x) in nats.

    ``limits`` are (left, right, bottom, top); `around` finds those of a sample. ``points`` are drawn under the arrows,
    ``ax`` is a panel of your own figure to draw in.

    Raises: ShapeError if the score of (m, 2) points is not (m, 2).

    >>> picture = field(lambda x: -x, n=5)
    >>> [round(float(u), 3) for u in picture.axes[0].collections[-1].U[[0, 4]]]
    [1.34, -1.34]
    """
    picture, ax = _panel(ax, title)
    place = lattice(limits, n)
    s = array(score(place))
    if s.shape != place.shape:
        raise ShapeError(f"score of shape {tuple(s.shape)} at points of shape {tuple(place.shape)}: must be alike.")
    if log_density is not None:
        ax.grid(visible=False)
        _contours(ax, log_density, limits)
    if points is not None:
        x = array(points)
        ax.scatter(x[:, 0], x[:, 1], s=4, color=GREY, alpha=0.5, linewidths=0, zorder=2)
    size = s.norm(dim=1)
    middle = size[size > 0].median() if bool((size > 0).any()) else torch.ones(())
    arrow = s / size.clamp(min=1e-12)[:, None] * torch.log1p(4 * size / middle)[:, None]
    step = (limits[1] - limits[0]) / (n - 1)
    drawn = ax.quiver(
        *place.T.double().numpy(),
        *arrow.T.numpy(),
        size.numpy(),
        cmap=_colours(),
        angles="xy",
        scale_units="xy",
        scale=float(arrow.norm(dim=1).max().clamp(min=1e-12)) / (1.1 * step),
        width=0.0035,
        headwidth=4,
        headlength=4.5,
        headaxislength=4,
        zorder=3,
    )
    bar = ax.figure.colorbar(drawn, ax=ax, shrink=0.8, pad=0.02)
    bar.set_label("‖∇log p‖ (1/length)", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7, colors=INK)
    bar.outline.set_visible(False)
    margin = 0.6 * step
    ax.set_xlim(limits[0] - margin, limits[1] + margin)
    ax.set_ylim(limits[2] - margin, limits[3] + margin)
    return picture


def scatter(
    samples: Float[Tensor, "n 2"],
    data: Float[Tensor, "m 2"] | None = None,
    *,
    title: str = "",
    names: tuple[str, str] = ("samples", "data"),
) -> "Figure":
    """Samples in the plane beside the data, in two panels with the same limits, or alone if there is no data.

    Points beyond the limits of the data, widened by a fifth, are not shown but counted in the title of the panel.

    >>> len(scatter(torch.zeros(3, 2), torch.ones(4, 2)).axes)
    2
    """
    shown = [(names[0], array(samples), BLUE)]
    if data is not None:
        shown.insert(0, (names[1], array(data), INK))
    limits = around(shown[0][1], 0.2)
    picture = figure(3.6 * len(shown), 3.8)
    if title:
        picture.suptitle(title, fontsize=11, color=INK)
    for k, (name, x, colour) in enumerate(shown):
        low, high = torch.tensor(limits[::2]), torch.tensor(limits[1::2])
        outside = int(((x < low) | (x > high)).any(1).sum())
        heading = f"{name} (n = {len(x):,}" + (f", {outside:,} outside)" if outside else ")")
        ax = dress(picture.add_subplot(1, len(shown), k + 1), title=heading, xlabel="x₁", ylabel="x₂" if k == 0 else "")
        ax.scatter(x[:, 0], x[:, 1], s=5, color=colour, alpha=max(0.15, min(0.8, 800 / len(x))), linewidths=0)
        ax.set(xlim=limits[:2], ylim=limits[2:], aspect="equal")
    return picture


def embedding(
    points: Float[Tensor, "n 2"], arrows: Float[Tensor, "n 2"], labels: Tensor | None = None, *, title: str = ""
) -> "Figure":
    """Arrows at given points of a plane, such as scores of images projected on two directions, coloured by label.

    Arrows are to one common scale, at which the 95 % quantile of their lengths is a tenth of the spread of the points.
    """
    x, v = array(points), array(arrows)
    picture = figure(5.6, 5.0)
    ax = axes(picture, title=title, xlabel="first direction", ylabel="second direction")
    unit = 0.1 * float(x.std(0).norm()) * 2
    longest = float(v.norm(dim=1).quantile(0.95))
    ax.quiver(
        *x.T.numpy(),
        *v.T.numpy(),
        color=INK,
        alpha=0.7,
        angles="xy",
        scale_units="xy",
        scale=max(longest, 1e-12) / max(unit, 1e-12),
        width=0.002,
        zorder=2,
    )
    if labels is None:
        ax.scatter(x[:, 0], x[:, 1], s=9, color=RED, linewidths=0, zorder=3)
    else:
        for k, label in enumerate(labels.unique().tolist()):
            chosen = labels.cpu() == label
            ax.scatter(x[chosen, 0], x[chosen, 1], s=11, color=f"C{k}", linewidths=0, label=str(label), zorder=3)
        ax.legend(frameon=False, fontsize=8, ncols=1, loc="center left", bbox_to_anchor=(1, 0.5), labelcolor=INK)
    ax.set_aspect("equal", adjustable="datalim")
    return picture


def around(x: Float[Tensor, "n 2"], margin: float = 0.15) -> Limits:
    """(left, right, bottom, top) of the central 99.8 % of a sample, widened on each side by a fraction of its extent.

    >>> around(torch.tensor([[0.0, 0.0], [1.0, 2.0]]), 0.5)
    (-0.5, 1.5, -1.0, 3.0)
    """
    low, high = array(x).quantile(torch.tensor([0.001, 0.999], dtype=torch.float64), dim=0)
    if len(x) < 1000:
        low, high = array(x).amin(0), array(x).amax(0)
    wide = (high - low).clamp(min=1e-6) * margin
    (left, bottom), (right, top) = (low - wide).tolist(), (high + wide).tolist()
    return left, right, bottom, top


def lattice(limits: Limits, n: int) -> Float[Tensor, "m 2"]:
    """n × n points that fill a rectangle, row by row from the bottom.

    >>> lattice((0.0, 1.0, 2.0, 3.0), 2).tolist()
    [[0.0, 2.0], [1.0, 2.0], [0.0, 3.0], [1.0, 3.0]]
    """
    across, up = torch.linspace(limits[0], limits[1], n), torch.linspace(limits[2], limits[3], n)
    return torch.stack(torch.meshgrid(across, up, indexing="xy"), dim=-1).reshape(-1, 2)


def _panel(ax: "Axes | None", title: str) -> "tuple[Figure, Axes]":
    ax = figure(5.4, 4.8).add_subplot() if ax is None else ax
    picture = ax.get_figure(root=True)
    if picture is None:
        raise DataError("field(ax=...): the panel belongs to no figure; make one with figure.add_subplot().")
    dress(ax, title=title, xlabel="x₁", ylabel="x₂").set_aspect("equal")
    return picture, ax


def _colours() -> "ListedColormap":
    """Viridis from green to violet, without the yellow that nobody sees on white."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["viridis"](np.linspace(0.78, 0.0, 256)))


def _contours(ax: "Axes", log_density: Callable[[Tensor], Tensor], limits: Limits) -> None:
    wide, tall = 0.03 * (limits[1] - limits[0]), 0.03 * (limits[3] - limits[2])
    place = lattice((limits[0] - wide, limits[1] + wide, limits[2] - tall, limits[3] + tall), 120)
    height = array(log_density(place)).reshape(120, 120)
    grid = place.double().reshape(120, 120, 2)
    top = float(height.max())
    levels = [top - below for below in (12, 8, 6, 4.5, 3, 2, 1, 0.3)]
    shades = ("#F1F5FA", "#E3ECF5", "#D3E1F0", "#C1D5EA", "#AEC8E3", "#9BBBDC", "#86ADD4", "#719FCC")
    ax.contourf(grid[..., 0], grid[..., 1], height, levels=[*levels, top + 1e-9], colors=shades, zorder=0.5)
