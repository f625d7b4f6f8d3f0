"""Progressive distillation: one step of the student does what two steps of its teacher do.

    t > m > s:    x_m = ddim(teacher, x_t, t, m),   x_s = ddim(teacher, x_m, m, s),   x̃ with ddim(x̃, x_t, t, s) = x_s
    loss          max(α_t²/σ_t², 1) ½|x̂(x_t, t) − x̃|²

Halving again and again, 2^k steps become one. Salimans & Ho (2022), algorithm 2, section 4 and appendix G, arXiv:2202.00512.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import RangeError
from ..models import Denoiser, Values
from ..tensors import Draws, normal, sum_event
from .consistency import frozen
from .neighbours import Neighbours, require_grid
from .steps import ddim, target


class Progressive(nn.Module):
    """max(SNR, 1) ½|x̂ − x̃|²: teaches a student to take every second time of its teacher's grid.

    ``times`` is the teacher's grid, of an even number of steps; the student's is ``student_times``, walked by `Ancestral(eta=0)`.
    Start from the teacher's weights; the trained student is the next teacher. Salimans & Ho (2022), algorithm 2, arXiv:2202.00512.
    It is an objective for `train`. Raises: RangeError for a grid that does not descend to 0, or has an odd number of steps.

    >>> from scorefield.exact import Gaussian; from scorefield.grids import karras; from scorefield.noises import VP
    >>> known = Gaussian(torch.zeros(2), torch.eye(2)).denoiser(VP())
    >>> objective = Progressive(known, karras(VP(), 8))
    >>> objective(known, torch.ones(3, 2)).shape, len(objective.student_times) - 1
    (torch.Size([3]), 4)
    """

    def __init__(self, teacher: Denoiser, times: Float[Tensor, "times"]):
        super().__init__()
        require_grid("Progressive", times)
        if len(times) % 2 == 0:
            raise RangeError(f"Progressive: a grid of {len(times) - 1} steps cannot be halved; wanted an even number.")
        self.teacher: Denoiser = frozen(teacher)
        self.times = times

    @property
    def student_times(self) -> Float[Tensor, "student_times"]:
        """Every second time of the teacher's grid."""
        return self.times[::2]

    def forward(self, model: Denoiser, x: Values, generator: Draws | None = None, **cond) -> Float[Tensor, "batch"]:
        n, times = Neighbours(self.student_times).interval(x, generator), self.times.double().to(x.device)
        t, middle, s = times[2 * n], times[2 * n + 1], times[2 * n + 2]
        alpha, sigma = model.noise.at(t, x)
        xt = alpha * x + sigma * normal(x, generator)
        with torch.no_grad():
            xs = ddim(self.teacher, ddim(self.teacher, xt, t, middle, **cond), middle, s, **cond)
            wanted = target(model, xt, xs, t, s)
        weight = (model.noise.ratio(t) ** -2).clamp(min=1).to(x)
        return 0.5 * weight * sum_event((model(xt, t, **cond) - wanted) ** 2)
