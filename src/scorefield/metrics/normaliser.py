"""Normalising constants: Z = ∫ exp(−E), by importance sampling from a base, annealed when the two are far apart.

    f_β = b^(1−β) e^(−βE),   0 = β_0 < … < β_K = 1,   log w = Σ_k log f_{β_k}(x_{k−1}) − log f_{β_{k−1}}(x_{k−1}),   E w = Z

x_0 ~ b, and x_k comes from x_{k−1} by Metropolis-adjusted Langevin steps that leave f_{β_k} invariant. E w = Z exactly, for any number
of levels and steps; more of them make w vary less. One level is plain importance sampling.

Neal (2001), eq. 11, arXiv:physics/9803008.
"""

import math
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError, RangeError, ShapeError
from ..tensors import Draws, normal, sum_event, uniform
from .estimate import Estimate

Points = Float[Tensor, "n *event"]
Numbers = Float[Tensor, "n"]


@runtime_checkable
class Base(Protocol):
    """Where walks start: a law that can be drawn from, with its log-density, and its score by calling it."""

    def sample(self, n: int, generator: Draws | None = None) -> Tensor:
        """n draws."""

    def log_density(self, x: Tensor) -> Tensor:
        """log b(x) in nats, normalised."""

    def __call__(self, x: Tensor) -> Tensor:
        """∇ log b(x)."""


def log_normaliser(
    model: Any,
    base: Base,
    *,
    n: int = 1000,
    levels: int = 100,
    steps: int = 2,
    generator: torch.Generator | None = None,
) -> Estimate:
    """log Z of e^−E in nats, by n annealed walks from the base; its standard error by the delta method.

    ``model`` is a score with ``energy(x)``, −log of an unnormalised density, one number a row: a kernel density, an `Energy`.
    The size of the Langevin steps is found, level by level, on other walks first, so that the estimate of Z stays unbiased.
    ``levels = 1`` is importance sampling. Raises: RangeError for numbers below 1 (n: below 2); ShapeError without ``energy``;
    DataError if fewer than 10 walks carry the weight, so that neither the number nor its error means anything: take more levels.

    >>> from ..exact import Gaussian
    >>> one, two = (Gaussian(torch.zeros(2), v * torch.eye(2)) for v in (1.0, 2.0))
    >>> found = log_normaliser(one, two, n=500, levels=5, generator=torch.Generator().manual_seed(0))
    >>> abs(found.value) < 4 * found.error
    True
    """
    if n < 2 or levels < 1 or steps < 1:
        raise RangeError(f"log_normaliser(n={n}, levels={levels}, steps={steps}): wanted n ≥ 2 and at least 1 of each.")
    if not hasattr(model, "energy"):
        raise ShapeError(
            f"log_normaliser: {type(model).__name__} has no energy; use a CurlFree kernel, an Energy or a density."
        )
    generator = generator if generator is not None else torch.Generator().manual_seed(0)
    sizes: list[float] = []
    if levels > 1:
        _walks(model, base, 200, levels, steps, generator, sizes, adapt=True)
    logs = _walks(model, base, n, levels, steps, generator, sizes, adapt=False).double()
    if not bool((logs < math.inf).all()):
        raise DataError("log_normaliser: the energy is −∞ or not a number at some draw of the base; is it a density?")
    weights = (logs - logs.max()).exp()
    effective = float(weights.sum() ** 2 / weights.square().sum())
    if effective < 10:
        raise DataError(
            f"log_normaliser(n={n}, levels={levels}): {effective:.1f} of {n} walks carry the weight; take more levels."
        )
    return Estimate(
        float(logs.max()) + math.log(float(weights.mean())), float(weights.std() / weights.mean()) / math.sqrt(n)
    )


@torch.no_grad()
def _walks(
    model: Any,
    base: Base,
    n: int,
    levels: int,
    steps: int,
    generator: torch.Generator,
    sizes: list[float],
    *,
    adapt: bool,
) -> Numbers:
    """log w of n walks; ``sizes`` of the steps are appended to when adapting, else read."""
    x = base.sample(n, generator)
    spread = float(x.flatten(1).var(0).mean())
    size = 0.5 * spread
    logs = x.new_zeros(n, dtype=torch.float64)
    grid = torch.linspace(0, 1, levels + 1, dtype=torch.float64).tolist()
    for level in range(1, levels + 1):
        tilt = -model.energy(x) - base.log_density(x)
        logs = logs + (grid[level] - grid[level - 1]) * tilt.double()
        if level == levels:
            break
        if not adapt:
            size = sizes[level - 1]
        for _ in range(steps):
            x, accepted = _step(model, base, x, grid[level], size, generator)
            if adapt:
                size *= math.exp(0.3 * (float(accepted.double().mean()) - 0.574))
        if adapt:
            sizes.append(size)
    return logs


def _step(
    model: Any, base: Base, x: Points, beta: float, size: float, generator: torch.Generator
) -> tuple[Points, Tensor]:
    """A Metropolis-adjusted Langevin step for b^(1−β) e^(−βE): the next state, and which rows moved."""

    def log_f(y: Tensor) -> Tensor:
        return (1 - beta) * base.log_density(y) - beta * model.energy(y)

    def drift(y: Tensor) -> Tensor:
        return y + size * ((1 - beta) * base(y) + beta * model(y))

    z = normal(x, generator)
    there = drift(x) + math.sqrt(2 * size) * z
    back = sum_event((x - drift(there)) ** 2) / (4 * size)
    ratio = (log_f(there) - log_f(x) + 0.5 * sum_event(z**2) - back).nan_to_num(nan=-math.inf)
    accepted = uniform(ratio, generator).log() < ratio
    return torch.where(accepted.reshape(-1, *(1,) * (x.ndim - 1)), there, x), accepted
