"""One picture of a model of the plane: data, samples, the score at three noise levels, and paths from noise to data."""

from functools import partial
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from .. import plots
from ..models import Denoiser
from ..plots.style import BLUE, GREY, INK, dress, figure
from .experiment import Finished

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVELS = (0.1, 0.5, 2.0)
WALKERS = 48


def draw(finished: Finished, samples: Float[Tensor, "n 2"], real: Float[Tensor, "m 2"]) -> "Figure":
    """Data | samples | paths above, the score at σ/α = 0.1, 0.5 and 2 below, on noised data."""
    model, limits = finished.model, plots.around(real, 0.2)
    picture = figure(12.6, 8.2)
    for k, (name, x, colour) in enumerate((("data", real, INK), ("samples", samples, BLUE))):
        ax = dress(picture.add_subplot(2, 3, k + 1), title=f"{name} (n = {len(x):,})")
        ax.scatter(x[:, 0], x[:, 1], s=3, color=colour, alpha=0.4, linewidths=0)
        ax.set(xlim=limits[:2], ylim=limits[2:], aspect="equal")
    paths = torch.stack([state.x for state in finished.walk(WALKERS)], 1).double()
    ax = dress(picture.add_subplot(2, 3, 3), title=f"{WALKERS} walks from noise to data")
    for path in paths:
        ax.plot(path[:, 0], path[:, 1], color=GREY, linewidth=0.7, alpha=0.7)
    ax.scatter(paths[:, 0, 0], paths[:, 0, 1], s=8, color=INK, linewidths=0, label="noise")
    ax.scatter(paths[:, -1, 0], paths[:, -1, 1], s=10, color=BLUE, linewidths=0, label="data", zorder=3)
    ax.legend(frameon=False, fontsize=8)
    ax.set_aspect("equal")
    if isinstance(model, Denoiser):
        for k, level in enumerate(LEVELS):
            t = model.noise.time(torch.tensor(level, dtype=torch.float64))
            noised = model.noise.perturb(real[:600], t, torch.Generator().manual_seed(0))
            title = f"score ∇log p at σ/α = {level:g}"
            ax = picture.add_subplot(2, 3, 4 + k)
            plots.field(partial(_score, model, t), limits=plots.around(noised), points=noised, n=21, title=title, ax=ax)
    return picture


def _score(model: Denoiser, t: Tensor, x: Tensor) -> Tensor:
    device = next(model.parameters()).device
    with torch.no_grad():
        return model.score(x.float().to(device), t.to(device)).cpu()
