"""Distribution matching: a generator's law moves down its reverse KL divergence to the teacher's, at every noise level.

With y = G(x_t, t) and y_τ = α y + σ z,  ∇ KL(p_G ‖ p_teacher) = E[w (s_fake(y_τ) − s_teacher(y_τ)) ∂y_τ/∂θ], so that

    student   ½|y − y⁻ + w (x̂_fake − x̂_teacher)⁻|²,  w⁻¹ = mean |y − x̂_teacher|       Yin et al. 2024, eq. 7–8, arXiv:2311.18828
    fake      ½ λ(τ) |x̂_fake(y_τ⁻, τ) − y⁻|²: the denoiser of what the student draws     ibid., eq. 6

(⁻ is without gradient.) No pairs of noise and image are kept, and the student starts from several levels (Yin et al. 2024b,
section 4.4, arXiv:2405.14867). Both losses fall at once, in one step of one optimiser.
"""

import copy
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..models import Denoiser, Values
from ..noises import Gaussian
from ..objectives import LogNormal, weights
from ..objectives import Times as Levels
from ..tensors import Draws, expand, sum_event
from .consistency import frozen
from .neighbours import Neighbours

Losses = Float[Tensor, "batch"]
Weight = Callable[[Gaussian, Float[Tensor, "*batch"]], Float[Tensor, "*batch"]]


class DistributionMatching(nn.Module):
    """½|y − y⁻ + w (x̂_fake − x̂_teacher)⁻|² + ½ λ |x̂_fake − y⁻|²: a student whose samples, not paths, are its teacher's.

    The student learns to draw from every level that ``starts`` visits with probability (t of its pairs; its grid ends in 0), which
    `Renoise` then walks; ``fake`` is where the denoiser of the student's draws starts, usually the unguided teacher, and is trained
    beside the student; the teacher may be guided. It is an objective for `train`, and its state is saved with the training's.
    Yin et al. (2024), eq. 6–8, arXiv:2311.18828. Needs a student that starts as a denoiser.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import EDM
    >>> known = Gaussian(torch.zeros(2), torch.eye(2)).denoiser(EDM(80.0))
    >>> objective = DistributionMatching(known, known, Neighbours(torch.tensor([1.0, 0.05, 0.0])))
    >>> objective(known, torch.ones(3, 2)).shape
    torch.Size([3])
    """

    def __init__(
        self,
        teacher: Denoiser,
        fake: Denoiser,
        starts: Neighbours,
        times: Levels | None = None,
        weight: Weight = weights.edm,
    ):
        super().__init__()
        self.teacher = frozen(teacher)
        self.fake = copy.deepcopy(fake).requires_grad_(True).eval()
        self.starts = starts
        self.times = times or LogNormal(-0.2, 1.2)
        self.weight = weight

    def forward(self, model: Denoiser, x: Values, generator: Draws | None = None, **cond) -> Losses:
        t, _ = self.starts(x, generator)
        y = model(model.noise.perturb(x, t, generator), t, **cond)
        drawn = y.detach()
        tau, correction = self.times(model.noise, x, generator)
        ytau = model.noise.perturb(drawn, tau, generator)
        fake = self.fake(ytau, tau, **cond)
        with torch.no_grad():
            real = self.teacher(ytau, tau, **cond)
            size = sum_event((drawn - real).abs()) / drawn[0].numel()
            push = (fake - real) / expand(size + 1e-3, x)
        matching = 0.5 * sum_event((y - drawn + push) ** 2)
        denoising = 0.5 * self.weight(model.noise, tau).to(x) * sum_event((fake - drawn) ** 2)
        return matching + denoising * correction.to(x)
