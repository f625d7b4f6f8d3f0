"""Ways back: data → noise → data along the probability flow, and the inverse of a residual map.

A step of a deterministic sampler from t to s < t is a step of the flow dy/dr = (y − x̂)/r in y = x/α, r = σ/α, and so it is for s > t:
walked up the grid it encodes data as noise (Song, Meng & Ermon 2021, section 4.3, arXiv:2010.02502). The error of either way is
that of the sampler, O(steps^−order), beside O(floor²) for taking the data to lie at σ/α = floor.

The residual map y = x + ε s(x) has the inverse that x ← y − ε s(x) tends to, at the rate ε Lip(s) < 1, and
log p_X(x) = log p_Y(y) + log |det(I + ε Ds)|                                Behrmann et al. 2019, theorem 1, arXiv:1811.00995
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import DivergedError, RangeError, ShapeError
from .grids import logsnr
from .models import Denoiser, Values
from .samplers import Multistep, Past, Sampler
from .tensors import Streams, expand


def invert(
    model: Denoiser, x: Values, *, steps: int = 40, sampler: Sampler | None = None, floor: float = 2e-3, **cond
) -> Values:
    """x_1 = the noise that the flow carries into the data x: σ(1) times a standard normal draw, if the model is right.

    Use it to edit or to interpolate (change x_1 or the condition, then `restore`). A step costs what the sampler's does;
    `Multistep` unless you choose. Raises: RangeError for a sampler that draws noise (no walk with noise has an inverse),
    steps < 1 or a floor outside the noise's range; ShapeError for a model without noise; DivergedError naming the level.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import EDM
    >>> known = Gaussian(torch.zeros(1), torch.eye(1)).denoiser(EDM(80.0))
    >>> round(invert(known, torch.ones(1, 1)).item(), 1)
    80.0
    """
    sampler, times = _plan(model, x, steps, sampler, floor, cond)
    alpha, _ = model.noise.at(times[-1], x)
    return _carry(sampler, model, alpha * x, times.flip(0), cond)


def restore(
    model: Denoiser, x: Values, *, steps: int = 40, sampler: Sampler | None = None, floor: float = 2e-3, **cond
) -> Values:
    """The data that the flow carries the noise x = x_1 into: the way back from `invert`, down the same grid to the same floor.

    Arguments and errors as `invert`. It stops at the floor, where `sample` would take one more step to σ = 0.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import EDM
    >>> known = Gaussian(torch.zeros(1), torch.eye(1)).denoiser(EDM(80.0))
    >>> round(restore(known, invert(known, torch.ones(1, 1))).item(), 2)
    1.0
    """
    sampler, times = _plan(model, x, steps, sampler, floor, cond)
    alpha, _ = model.noise.at(times[-1], x)
    return _carry(sampler, model, x, times, cond) / alpha


class _Silent(Streams):
    """Streams from which nothing may be drawn."""

    def __init__(self, sampler: Sampler):
        super().__init__(0, ())
        self.sampler = sampler

    def uniform(self, x: Tensor) -> Tensor:
        raise RangeError(
            f"invert(sampler={self.sampler}): it draws noise, and a walk with noise has no inverse; "
            "use Multistep, Heun or Ancestral(eta=0)."
        )

    normal = uniform


def _plan(
    model: object, x: Tensor, steps: int, sampler: Sampler | None, floor: float, cond: dict
) -> tuple[Sampler, Tensor]:
    if not isinstance(model, Denoiser):
        raise ShapeError(f"invert({type(model).__name__}): it has no noise levels; wrap the network in Preconditioned.")
    if steps < 1:
        raise RangeError(f"invert(steps={steps}): steps must be at least 1; 40 suits most.")
    if len(x) == 0 or (model.shape is not None and tuple(x.shape[1:]) != tuple(model.shape)):
        raise ShapeError(f"invert: x of shape {tuple(x.shape)}; wanted rows of events {model.shape}.")
    sampler = sampler or Multistep()
    times = logsnr(model.noise, steps + 1, floor=floor)[:-1]
    # One row, one step down: a sampler that draws shows it here, before its formula meets a step up.
    one = {k: v[:1] if isinstance(v, Tensor) and v.ndim and len(v) == len(x) else v for k, v in cond.items()}
    with torch.no_grad():
        sampler.step(model, x[:1], times[0], times[1], Past(), _Silent(sampler), **one)
    return sampler, times


def _carry(sampler: Sampler, model: Denoiser, x: Tensor, times: Tensor, cond: dict) -> Tensor:
    past, silent = Past(), _Silent(sampler)
    for t, s in pairwise(times):
        with torch.no_grad():
            there, seen = sampler.step(model, x, t, s, past, silent, **cond)
        if not bool(there.isfinite().all()):
            level = float(model.noise.ratio(t))
            raise DivergedError(
                f"{sampler}: inversion left the finite numbers at sigma/alpha = {level:.3g}; more steps."
            )
        past, x = past.add(t, x, seen), there
    return x


@dataclass(frozen=True)
class Residual:
    """y = x + ε s(x), a step up a static score, and its inverse by fixed-point iteration, row by row.

    With s the score at noise level σ and ε = σ² it is Tweedie's formula, α x̂. ``size`` is ε; ``tolerance`` is relative to 1 + |x|.
    Behrmann et al. (2019), theorem 1, arXiv:1811.00995. Raises: RangeError for size, tolerance or iterations ≤ 0.

    >>> step = Residual(lambda x: -x, 0.5)
    >>> step(torch.ones(1, 2)), round(step.inverse(torch.full((1, 1), 0.5)).item(), 4)
    (tensor([[0.5000, 0.5000]]), 1.0)
    """

    score: Callable[[Values], Values]
    size: float
    tolerance: float = 1e-6
    iterations: int = 1000

    def __post_init__(self):
        if not (0 < self.size < float("inf") and self.tolerance > 0 and self.iterations > 0):
            raise RangeError(
                f"Residual(size={self.size:g}, tolerance={self.tolerance:g}, iterations={self.iterations}): all must be > 0."
            )

    def __call__(self, x: Values) -> Values:
        return x + self.size * self.score(x)

    def inverse(self, y: Values) -> Values:
        """The x with x + ε s(x) = y: each row stops at its own convergence, so that no row sees another.

        Raises: DivergedError naming the rows that do not converge: ε Lip(s) < 1 is what makes the map invertible.
        """
        tolerance = max(self.tolerance, 4 * torch.finfo(y.dtype).eps)
        x, active = y, torch.ones(len(y), dtype=torch.bool, device=y.device)
        for _ in range(self.iterations):
            new = y - self.size * self.score(x)
            change = (new - x).flatten(1).abs().amax(1)
            done = change.isfinite() & (change <= tolerance * (1 + new.flatten(1).abs().amax(1)))
            x, active = torch.where(expand(active, x), new, x), active & ~done
            if not bool(active.any()):
                return x
        rows = active.nonzero().flatten().tolist()
        raise DivergedError(
            f"Residual(size={self.size:g}).inverse: rows {rows[:8]} of {len(y)} still change by {float(change[active].max()):.3g} "
            f"after {self.iterations} iterations; size times the Lipschitz constant of the score must be below 1: take a smaller size."
        )

    def log_det(self, x: Values) -> Float[Tensor, "batch"]:
        """log |det(I + ε Ds(x))| in nats, from d backward passes through a differentiable score: for small d."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            y = self(x).flatten(1)
            rows = [torch.autograd.grad(y[:, k].sum(), x, retain_graph=True)[0].flatten(1) for k in range(y.shape[1])]
        return torch.linalg.slogdet(torch.stack(rows, 1)).logabsdet
