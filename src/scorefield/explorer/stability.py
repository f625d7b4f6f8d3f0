"""Why a step explodes: near a mode of curvature λ a step of Langevin dynamics multiplies the distance to it by 1 − hλ.

Linearised about a mode, −∇s = Λ with largest eigenvalue λ, each step is a linear map, and the walk stays bounded only if

    Langevin        |1 − hλ| < 1                                      hλ < 2;   the variance is 1/(1 − hλ/2) of what it should be
    Underdamped     both eigenvalues of a kick and a drift inside 1   h√λ < 2   (Leimkuhler & Matthews 2013, arXiv:1203.5428)
    EulerMaruyama   |1 + |f dt| − g²|dt| λ_t| < 1 at every level      g²|dt| λ_t − |f dt| < 2
    correctors      steps of ε σ², and λ_t ≤ 1/σ²                     ε ≤ 1 < 2: always

Steps that integrate α x̂ − x exactly for constant x̂ have no such bound. λ is measured, at draws of the target.
That unadjusted Langevin steps may leave for infinity: Roberts & Tweedie (1996), doi:10.2307/3318418.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..models import Denoiser
from ..samplers import (
    MALA,
    Adaptive,
    Ancestral,
    AnnealedLangevin,
    EulerMaruyama,
    Langevin,
    Multistep,
    PredictorCorrector,
    Sampler,
    Underdamped,
)
from ..tensors import Streams

Points = Float[Tensor, "n 2"]
LEVELS, DRAWS = 40, 64


@dataclass(frozen=True)
class Stability:
    """step × curvature against the bound above which the walk explodes; ``bound`` is None where there is none.

    >>> Stability(2.5, 2.0, "hλ").stable, Stability(2.5, None, "hλ").stable
    (False, True)
    """

    value: float
    bound: float | None
    symbol: str
    curvature: float = math.nan

    @property
    def stable(self) -> bool:
        """Whether the walk stays bounded."""
        return self.bound is None or self.value < self.bound


def curvature(score: Callable[[Points], Points], x: Points) -> Float[Tensor, "n"]:
    """The largest eigenvalue of −∇s, symmetrised, at every row: how sharply −log p bends there, in 1/length².

    >>> curvature(lambda x: -x * torch.tensor([1.0, 4.0]), torch.zeros(1, 2))
    tensor([4.])
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        s = score(x)
        rows = [torch.autograd.grad(s[:, k].sum(), x, retain_graph=True)[0] for k in range(2)]
    a, b, c = -rows[0][:, 0], -0.5 * (rows[0][:, 1] + rows[1][:, 0]), -rows[1][:, 1]
    return 0.5 * (a + c) + (0.25 * (a - c) ** 2 + b**2).sqrt()


def static(sampler: Sampler, score: Callable[[Points], Points], x: Points) -> Stability | None:
    """The stability of a walk under one score, its curvature the largest at the draws x of the target.

    >>> x = torch.zeros(1, 2)
    >>> static(Langevin(0.1), lambda x: -30 * x, x)
    Stability(value=3.0, bound=2.0, symbol='hλ', curvature=30.0)
    """
    bend = float(curvature(score, x).max())
    match sampler:
        case Langevin(size=h):
            return Stability(h * bend, 2.0, "hλ", bend)
        case MALA(size=h):
            return Stability(h * bend, None, "hλ", bend)
        case Underdamped(size=h):
            return Stability(h * math.sqrt(max(0.0, bend)), 2.0, "h√λ", bend)
    return None


def levels(
    sampler: Sampler, model: Denoiser, x: Points, times: Float[Tensor, "times"], seed: int = 0
) -> Stability | None:
    """The stability of a walk down the noise levels ``times``, at its worst level, from draws x of the data.

    None where a step has no bound.
    """
    if not isinstance(sampler, EulerMaruyama | AnnealedLangevin | PredictorCorrector):
        return None
    before, after = times[:-1], times[1:]
    keep = torch.linspace(0, len(before) - 2, min(LEVELS, len(before) - 1)).round().long().unique()
    if len(keep) == 0:
        return None  # one step, straight to the estimate
    before, after = before[keep], after[keep]
    x = x[:DRAWS]
    t = before.repeat_interleave(len(x))
    noisy = model.noise.perturb(x.repeat(len(before), 1), t, Streams(seed, range(len(t))))
    bends = curvature(lambda y: model.score(y, t), noisy).reshape(len(before), -1).amax(1).double()
    alpha, sigma = model.noise.scales(before)
    match sampler:
        case EulerMaruyama():
            f, g2 = model.noise.rates(before)
            values, bound, symbol = (before - after) * (g2 * bends - f.abs()), 2.0, "g²|dt|λ − |f dt|"
        case AnnealedLangevin(size=size):
            values, bound, symbol = size * sigma**2 * bends, 2.0, "εσ²λ"
        case PredictorCorrector(snr=snr):
            values, bound, symbol = 2 * snr**2 * sigma**2 * bends, 2.0, "2(snr·σ)²λ"
    worst = int(values.argmax())
    return Stability(float(values[worst]), bound, symbol, float(bends[worst]))


def sentence(sampler: Sampler, found: Stability | None) -> str:
    """What the numbers mean, in words.

    >>> sentence(Langevin(0.1), Stability(0.5, 2.0, "hλ", 5.0))
    'Stable: hλ = 0.5, below its bound 2. Across the sharpest place the variance comes out 1.33 times too large.'
    """
    if found is None:
        match sampler:
            case Ancestral() | Multistep(points=1):
                return "No bound: a step is exact wherever the clean estimate stays constant, so few steps blur and do not explode."
            case Adaptive(tolerance=tolerance):
                return f"No bound: it takes whatever steps keep the error of each below {tolerance:g}."
        return "No bound of this kind: slopes are extrapolated, so with too few steps the walk may be thrown far."
    number = f"{found.symbol} = {found.value:.3g}"
    if found.bound is None:
        if found.value > 2:
            return f"{number}: too long for Langevin alone; here a proposal that overshoots is refused, and the walk stays."
        return f"{number}: nothing explodes at any step size, since a proposal that overshoots is refused."
    if not found.stable:
        return (
            f"Unstable: {number} lies above its bound {found.bound:g}. Each step overshoots by more than it had to go, so nothing "
            "settles: the walk is thrown about, or explodes."
        )
    if isinstance(sampler, Langevin):
        wide = 1 / (1 - found.value / 2)
        return (
            f"Stable: {number}, below its bound {found.bound:g}. Across the sharpest place the variance comes out {wide:.3g} "
            "times too large."
        )
    return f"Stable: {number}, below its bound {found.bound:g}."
