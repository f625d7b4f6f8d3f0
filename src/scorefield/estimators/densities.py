"""What a fitted estimator knows of p: its logarithm with an error, its slope, and draws, in the units of the data.

    known       log p and draws in closed form
    energy      log p = −E − log Z;  log Z and its error by (annealed) importance sampling from a proposal b; a draw is one of 64 draws
                of b, taken with probability ∝ e^{−E}/b (Rubin 1987), and then walked by MALA, which leaves p invariant
    flow        log p through the probability flow of a denoiser, at the noise level `floor`; draws by walking from the prior
    field       a score that need not be a gradient: it has no log p; draws by unadjusted Langevin walks
    units       any of these in other units: log p(x) = log p(z) − Σ log c for x = c z + b

Rubin (1987), J. Amer. Statist. Assoc. 82(398), sampling-importance-resampling. Row i of n draws depends on (seed, i) alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..calculus import Exact, Hutchinson, orthogonal
from ..data.scaling import Scaling
from ..errors import DataError, RangeError, ShapeError
from ..exact import Gaussian
from ..likelihood.flow import flow_density
from ..metrics import Estimate, log_normaliser
from ..models import Denoiser
from ..samplers import MALA, Langevin
from ..sampling import sample
from ..tensors import Streams, normal, sum_event, uniform
from .proposals import OnSimplex, OnSphere, Proposal

Points = Float[Tensor, "n d"]
Numbers = Float[Tensor, "n"]
EXACT_UP_TO = 128
_POOL, _POOL_CURVED, _WALK, _BLOCK = 64, 1024, 200, 256
# (draws, levels) tried one after the other until the error of log Z is at most _ENOUGH nats.
_EFFORTS, _ENOUGH = ((10_000, 1), (100_000, 1), (1000, 30), (1000, 100), (2000, 300)), 0.02


class Density(ABC):
    """log p ± its error, ∇ log p, and draws."""

    @abstractmethod
    def log_density(self, x: Points) -> tuple[Numbers, Numbers]:
        """(log p, one standard error of it), in nats, a row each."""

    @abstractmethod
    def slope(self, x: Points) -> Points:
        """∇ log p, differentiable."""

    @abstractmethod
    def draw(self, n: int, seed: int) -> Points:
        """n draws; row i depends on (seed, i) alone."""

    @property
    def normaliser(self) -> Estimate | None:
        """log Z of e^{−E} ± its error where an energy is all that is known, else None."""
        return None


@dataclass(frozen=True, eq=False)
class Known(Density):
    """A Gaussian, without error.

    >>> Known(Gaussian(torch.zeros(1), torch.eye(1))).slope(torch.ones(1, 1)).item()
    -1.0
    """

    law: Gaussian

    def log_density(self, x: Points) -> tuple[Numbers, Numbers]:
        return self.law.log_density(x), x.new_zeros(len(x))

    def slope(self, x: Points) -> Points:
        return self.law(x)

    def draw(self, n: int, seed: int) -> Points:
        factor = torch.linalg.cholesky(self.law.covariance)  # which scales with the columns
        z = normal(self.law.mean.new_empty(n, len(self.law.mean)), Streams(seed, range(n)))
        return self.law.mean + z @ factor.T


def normal_law(precision: Float[Tensor, "d d"], eta: Float[Tensor, "d"]) -> Known:
    """N(K⁻¹η, K⁻¹), for a K that is positive definite.

    >>> normal_law(torch.eye(1), torch.ones(1)).law.mean
    tensor([1.])
    """
    covariance = torch.linalg.inv(precision)
    return Known(Gaussian(covariance @ eta, (covariance + covariance.T) / 2))


@dataclass(frozen=True, eq=False)
class FromEnergy(Density):
    """log p = −E − log Z for a score with ``energy``; log Z is found when it is first asked for.

    ``base`` is where walks start, in the units of ``walking``, in which they go and all columns have comparable spread. ``flaw`` says
    why there is no such density, if there is none: score matching never asks for one. Raises: DataError then, and if log Z cannot
    be found.

    >>> narrow, wide = (Gaussian(torch.zeros(1), v * torch.eye(1)) for v in (1.0, 2.0))
    >>> value, error = FromEnergy(narrow, wide, seed=0).log_density(torch.zeros(1, 1))
    >>> bool((value + 0.919).abs() < 4 * error + 1e-3)
    True
    """

    model: Any
    base: Proposal | Gaussian
    seed: int
    walking: Scaling = field(default_factory=Scaling.identity)
    flaw: str | None = None

    @property
    def _curved(self) -> bool:
        """Whether steps along straight lines leave the domain."""
        return isinstance(self.base, OnSphere | OnSimplex)

    def _require_proper(self) -> None:
        if self.flaw is not None:
            raise DataError(
                f"no density has the fitted parameters: {self.flaw}. ∇ log p is known, log p is not: give more rows, a larger "
                "penalty, or another model."
            )

    @cached_property
    def normaliser(self) -> Estimate:
        """log Z of e^{−E}, E in the units of the data, and its standard error."""
        self._require_proper()
        efforts = _EFFORTS[:2] if self._curved else _EFFORTS
        inner = InUnits(self.model, self.walking)
        generator = torch.Generator().manual_seed(self.seed)
        for n, levels in efforts:
            try:
                found = log_normaliser(inner, self.base, n=n, levels=levels, generator=generator)
            except DataError as error:
                if (n, levels) == efforts[-1]:
                    raise DataError(
                        f"log Z is out of reach of {n} walks over {levels} levels ({error}). The fitted density has most of its mass "
                        "where few walks arrive, often where there are no rows: take a larger penalty or fewer columns (PCA in a "
                        "Pipeline). ∇ log p, the losses and held_out_loss do without log Z."
                    ) from error
                continue
            if found.error <= _ENOUGH:
                break
        unit = _log_unit(self.walking, self.base.sample(1, generator).shape[1])
        return Estimate(found.value + unit, found.error)

    def log_density(self, x: Points) -> tuple[Numbers, Numbers]:
        found = self.normaliser
        with torch.no_grad():
            energy = self.model.energy(x)
        return -energy - found.value, torch.full_like(energy, found.error)

    def slope(self, x: Points) -> Points:
        return self.model(x)

    def draw(self, n: int, seed: int) -> Points:
        self._require_proper()
        pool = _POOL_CURVED if self._curved else _POOL
        # Blocks are always whole: walks that branch on rounding then do not know n.
        return torch.cat([self._draw(range(k, k + _BLOCK), pool, seed) for k in range(0, n, _BLOCK)])[:n]

    def _draw(self, rows: range, pool: int, seed: int) -> Points:
        inner = InUnits(self.model, self.walking)
        streams = Streams(seed, range(rows.start * pool, rows.stop * pool))
        z = self.base.sample(len(rows) * pool, streams)
        with torch.no_grad():
            logs = -inner.energy(z) - self.base.log_density(z)
        race = logs - (-uniform(logs, streams).log()).log()  # Gumbel: the largest is a draw with probabilities ∝ e^logs
        first = race.reshape(len(rows), pool).argmax(1)
        z = z.reshape(len(rows), pool, -1)[torch.arange(len(rows)), first]
        if bool(logs.reshape(len(rows), pool).amax(1).isneginf().any()):
            raise DataError(f"sample: {pool} draws of {type(self.base).__name__} all lie outside the domain.")
        if not self._curved:
            mala = MALA()
            for state in mala.walk(inner, z, mala.times(inner, _WALK), Streams(seed + 1, rows)):
                z = state.x
        return self.walking.to_data(z)


@dataclass(frozen=True, eq=False)
class InUnits:
    """A score with an energy as seen from z = (x − b)/c: c s(c z + b), and the same energy.

    >>> InUnits(Gaussian(torch.zeros(1), torch.eye(1)), Scaling(0.0, 2.0))(torch.ones(1, 1)).item()
    -4.0
    """

    model: Any
    scaling: Scaling

    def __call__(self, z: Points) -> Points:
        """c s(c z + b)."""
        return _scale(self.scaling, z) * self.model(self.scaling.to_data(z))

    def energy(self, z: Points) -> Numbers:
        """E(c z + b)."""
        return self.model.energy(self.scaling.to_data(z))


@dataclass(frozen=True, eq=False)
class FromFlow(Density):
    """log p through the probability flow of a denoiser; data are taken to lie at the noise level ``floor``.

    ``slope`` is the score that was learned at ``level``, since σ² s is what a network learns, so that its errors grow as σ falls. It
    is the derivative of `log_density` as far as the denoiser is that of some density, which training brings about and nothing
    guarantees.

    >>> from ..noises import VP
    >>> flow = FromFlow(Gaussian(torch.zeros(1), torch.eye(1)).denoiser(VP()), floor=2e-3)
    >>> round(flow.log_density(torch.zeros(1, 1).double())[0].item(), 3)
    -0.919
    """

    model: Denoiser
    floor: float = 0.02
    level: float = 0.02
    steps: int = 20

    def log_density(self, x: Points) -> tuple[Numbers, Numbers]:
        found = flow_density(self.model, x, steps=20, tolerance=1e-2, divergence=None, floor=self.floor)
        return found.value, torch.hypot(found.trace, found.solver)

    def slope(self, x: Points) -> Points:
        t = self.model.noise.time(torch.tensor(self.level, dtype=torch.float64))
        alpha, _ = self.model.noise.at(t, x)
        return alpha * self.model.score(alpha * x, t)

    def draw(self, n: int, seed: int) -> Points:
        return sample(self.model, n, steps=self.steps, seed=seed)


@dataclass(frozen=True, eq=False)
class FromField(Density):
    """A score alone. Raises: ShapeError from `log_density`, for a field need not be the gradient of anything.

    >>> FromField(lambda x: -x, 1).draw(2, 0).shape
    torch.Size([2, 1])
    """

    model: Callable[[Points], Points]
    size: int

    def log_density(self, x: Points) -> tuple[Numbers, Numbers]:
        raise ShapeError(
            f"ScoreMatching.score_samples: {type(self.model).__name__} is a field that need not be a gradient, so that it has no "
            "log-density; give an Energy, such as network=lambda d: Energy(MLP(d, out=1)), or train across noise levels "
            "with objective=Diffusion()."
        )

    def slope(self, x: Points) -> Points:
        return self.model(x)

    def draw(self, n: int, seed: int) -> Points:
        return sample(
            lambda x: self.model(x.double()), n, steps=1000, sampler=Langevin(0.02), seed=seed, shape=(self.size,)
        )


@dataclass(frozen=True, eq=False)
class Standardised(Density):
    """A density of z = (x − b)/c in the units of x: log p(x) = log p(z) − Σ log c.

    >>> inner = Known(Gaussian(torch.zeros(1), torch.eye(1)))
    >>> Standardised(inner, Scaling(0.0, 2.0)).slope(torch.ones(1, 1)).item()
    -0.25
    """

    inner: Density
    scaling: Scaling

    @property
    def normaliser(self) -> Estimate | None:
        """log Z in standardised units."""
        return self.inner.normaliser

    def log_density(self, x: Points) -> tuple[Numbers, Numbers]:
        value, error = self.inner.log_density(self.scaling.to_model(x))
        return value - _log_unit(self.scaling, x.shape[1]), error

    def slope(self, x: Points) -> Points:
        return self.inner.slope(self.scaling.to_model(x)) / _scale(self.scaling, x)

    def draw(self, n: int, seed: int) -> Points:
        return self.scaling.to_data(self.inner.draw(n, seed).double())


def losses(density: Density, scaling: Scaling, x: Points) -> Numbers:
    """½|s|² + div s with s = ∇_z log p in the units z of a scaling: exact up to 128 columns, by 16 orthogonal probes above.

    >>> known = Known(Gaussian(torch.zeros(1), torch.eye(1)))
    >>> losses(known, Scaling.identity(), torch.zeros(2, 1)).tolist()
    [-1.0, -1.0]
    """
    z, scale = scaling.to_model(x), _scale(scaling, x)
    divergence = Exact() if x.shape[1] <= EXACT_UP_TO else Hutchinson(16, orthogonal)
    with torch.no_grad():
        s, div = divergence(lambda y: scale * density.slope(scaling.to_data(y)), z, Streams(0, range(len(z))))
    found = 0.5 * sum_event(s**2) + div
    if not bool(found.isfinite().all()):
        raise RangeError("losses: the score is not finite at some rows; are they inside the domain?")
    return found


def _scale(scaling: Scaling, x: Tensor) -> Tensor:
    return torch.as_tensor(scaling.scale, dtype=torch.float64).to(x)


def _log_unit(scaling: Scaling, d: int) -> float:
    return float(torch.as_tensor(scaling.scale, dtype=torch.float64).log().expand(d).sum())
