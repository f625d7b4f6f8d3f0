"""The score of images seen in a plane: u = Vᵀ(x/α − m), V the two directions of largest variance.

The score of the projected density is the mean of the projected score over all noisy images that project to the same u,

    ∇_u log p_t(u) = E[α Vᵀ s(x_t, t) | u],

and for rows x_i with y_i = Vᵀ(x_i − m) it is known: (Σ_i w_i y_i − u)/r², w_i ∝ exp(−|u − y_i|²/2r²), r = σ/α.
Images that project to u are drawn exactly: row i with probability w_i, the part of its noise in the plane set to
(u − y_i)/r, the rest normal.
"""

from functools import partial
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from .. import plots
from ..doctor.levels import thinned
from ..models import Denoiser
from ..plots.style import dress, figure
from ..tensors import Draws, normal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Points = Float[Tensor, "points 2"]
CHUNK = 4096


class Plane:
    """The two directions V of largest variance of some rows, and the score of a denoiser seen along them.

    >>> plane = Plane(torch.tensor([[0.0, 0.0, 0.0], [0.0, 3.0, 0.0], [1.0, 0.0, 0.0]]))
    >>> plane.project(plane.rows).mean(0).abs().max() < 1e-6
    tensor(True)
    """

    def __init__(self, rows: Float[Tensor, "rows *event"]):
        self.rows = rows
        flat = rows.flatten(1)
        self.mean = flat.mean(0)
        self.axes = torch.linalg.svd(flat - self.mean, full_matrices=False).Vh[:2].T
        self.places = self.project(rows)

    def project(self, x: Float[Tensor, "n *event"]) -> Float[Tensor, "n 2"]:
        """u = Vᵀ(x − m)."""
        return (x.flatten(1) - self.mean) @ self.axes

    def weights(self, u: Points, ratio: float) -> Float[Tensor, "points rows"]:
        """w_i(u): which row a noisy image at u came from."""
        return (-(torch.cdist(u, self.places) ** 2) / (2 * ratio**2)).softmax(1)

    def true_score(self, u: Points, ratio: float) -> Points:
        """(Σ w_i y_i − u)/r²: the score of the projected rows under noise."""
        return (self.weights(u, ratio) @ self.places - u) / ratio**2

    def score(
        self, model: Denoiser, t: Float[Tensor, ""], u: Points, *, draws: int = 32, generator: Draws | None = None
    ) -> Points:
        """The mean of α Vᵀ s over ``draws`` noisy images that project to each u.

        >>> from scorefield.exact import Empirical; from scorefield.noises import EDM
        >>> plane = Plane(torch.eye(3)[:, :2])
        >>> known, u, t = Empirical(plane.rows).denoiser(EDM(1.0)), torch.ones(1, 2), torch.tensor(0.5)
        >>> torch.allclose(plane.score(known, t, u), plane.true_score(u, 0.5), atol=1e-4)
        True
        """
        alpha, _ = model.noise.scales(t.double())
        ratio = float(model.noise.ratio(t.double()))
        seed = generator if isinstance(generator, torch.Generator) else None
        chosen = self.weights(u, ratio).multinomial(draws, replacement=True, generator=seed).flatten()
        wanted = (u.repeat_interleave(draws, 0) - self.places[chosen]) / ratio
        z = normal(self.rows[chosen].flatten(1), generator)
        z = z + (wanted - z @ self.axes) @ self.axes.T
        xt = float(alpha) * (self.rows[chosen].flatten(1) + ratio * z)
        device = next((parameter.device for parameter in model.parameters()), xt.device)
        with torch.no_grad():
            parts = [
                model.score(part.reshape(-1, *self.rows.shape[1:]).to(device), t.to(device)).cpu().flatten(1)
                for part in xt.split(CHUNK)
            ]
        return float(alpha) * (torch.cat(parts) @ self.axes).reshape(len(u), draws, 2).mean(1)


def picture(
    model: Denoiser,
    rows: Float[Tensor, "rows *event"],
    labels: Tensor | None,
    ratios: tuple[float, ...] = (0.5, 2.0, 5.0),
    *,
    shown: int = 1200,
    n: int = 19,
) -> "Figure":
    """The projected score at a few noise levels, over noisy rows coloured by their class."""
    plane, generator = Plane(rows), torch.Generator().manual_seed(0)
    places, classes = thinned(plane.places, shown), None if labels is None else thinned(labels, shown)
    image = figure(5.6 * len(ratios), 5.2)
    for k, ratio in enumerate(ratios):
        t = model.noise.time(torch.tensor(ratio, dtype=torch.float64))
        u = places + ratio * normal(places, generator)
        ax = dress(image.add_subplot(1, len(ratios), k + 1), xlabel="first direction", ylabel="second direction")
        ax.grid(visible=False)
        _classes(ax, u, classes)
        plots.field(
            partial(plane.score, model, t, generator=generator),
            limits=plots.around(u, 0.1),
            n=n,
            title=f"score of digits in a plane, σ/α = {ratio:g}",
            ax=ax,
        )
        if labels is not None and k == 0:
            image.legend(frameon=False, fontsize=9, markerscale=3, ncols=10, loc="outside lower center")
    return image


def _classes(ax, u: Points, labels: Tensor | None) -> None:
    from matplotlib import colormaps

    for k in [None] if labels is None else labels.unique().tolist():
        chosen = u if k is None else u[labels == k]
        colour = colormaps["tab10"]((k or 0) % 10)
        ax.scatter(*chosen.T.numpy(), s=7, color=colour, alpha=0.55, linewidths=0, label=None if k is None else str(k))
