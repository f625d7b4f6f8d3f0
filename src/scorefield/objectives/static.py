"""Objectives for one score s(x), without a noise process.

    Implicit    ½|s|² + div s                       Hyvärinen 2005, eq. 4, JMLR 6:695–709
    Sliced      ½(v·s)² + v·∇(v·s)                  Song et al. 2019, eq. 7, arXiv:1905.07088
    Denoising   ½|s(x + σz) + z/σ|²                 Vincent 2011, section 4.2, doi:10.1162/NECO_a_00142

The first two have the expectation ½E|s − ∇log p|² up to a constant; the third has it for the density smoothed by N(0, σ²I).
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from ..calculus import Divergence, Exact, independent
from ..errors import RangeError
from ..models import Score
from ..tensors import Draws, normal, sum_event
from .base import Objective

Values = Float[Tensor, "batch *event"]
Losses = Float[Tensor, "batch"]


@dataclass(frozen=True)
class Implicit(Objective):
    """½|s|² + div s: score matching, exact, by Hutchinson's estimate or by differences, on ℝ^d or a manifold, as its divergence says.

    `Implicit(Hutchinson())` is sliced score matching with variance reduction; `Implicit(Difference())` finite-difference
    score matching; `Implicit(Exact(Sphere()))` Riemannian score matching. Hyvärinen (2005), eq. 4.

    >>> Implicit()(lambda x: -x, torch.ones(1, 2)).item()
    -1.0
    """

    divergence: Divergence = field(default_factory=Exact)

    def __call__(self, model: Score, x: Values, generator: Draws | None = None, **cond) -> Losses:
        s, div = self.divergence(lambda y: model(y, **cond), x, generator)
        return 0.5 * sum_event(s**2) + div


@dataclass(frozen=True)
class Sliced(Objective):
    """½(v·s)² + v·∇(v·s), averaged over ±1 probes v: sliced score matching; equal to `Implicit` in the mean over v.

    Song et al. (2019), eq. 7, arXiv:1905.07088. Raises: RangeError for probes < 1.

    >>> Sliced()(lambda x: -x, torch.ones(1, 1)).item()
    -0.5
    """

    probes: int = 1

    def __post_init__(self):
        if self.probes < 1:
            raise RangeError(f"Sliced(probes={self.probes}): probes must be at least 1.")

    def __call__(self, model: Score, x: Values, generator: Draws | None = None, **cond) -> Losses:
        keep = torch.is_grad_enabled()
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            s = model(x, **cond)
            total = x.new_zeros(len(x))
            for v in independent(x, self.probes, generator):
                along = sum_event(v * s)
                (slope,) = torch.autograd.grad(along.sum(), x, create_graph=keep, retain_graph=True)
                total = total + 0.5 * along**2 + sum_event(v * slope)
        return (total if keep else total.detach()) / self.probes


@dataclass(frozen=True)
class Denoising(Objective):
    """½|s(x + σz) + z/σ|²: learns the score of the data smoothed by N(0, σ²I), with no derivative of s.

    Vincent (2011), section 4.2. ``sigma`` is in units of x. Raises: RangeError for sigma ≤ 0.

    >>> losses = Denoising(2.0)(lambda x: torch.zeros_like(x), torch.ones(4, 3), torch.Generator().manual_seed(0))
    >>> losses.shape
    torch.Size([4])
    """

    sigma: float = 0.5

    def __post_init__(self):
        if not self.sigma > 0:
            raise RangeError(f"Denoising(sigma={self.sigma:g}): sigma must be positive, in units of the data.")

    def __call__(self, model: Score, x: Values, generator: Draws | None = None, **cond) -> Losses:
        z = normal(x, generator)
        return 0.5 * sum_event((model(x + self.sigma * z, **cond) + z / self.sigma) ** 2)
