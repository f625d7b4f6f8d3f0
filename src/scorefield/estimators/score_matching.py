"""A neural density as a scikit-learn estimator: any objective, any network, on standardised columns.

across noise levels     x̂(x_t, t) by `Diffusion`: log p through the probability flow, draws by walking from the prior
at no noise             −∇E by `Implicit`, `Sliced` or `Denoising`, E = −log N(x̄, S) + network: log p = −E − log Z;
                        a network of linear growth cannot make it improper
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..closed import Shrunk
from ..data import batches
from ..data.scaling import Scaling
from ..errors import RangeError, ShapeError
from ..exact import Gaussian
from ..models import Denoiser, Energy, Preconditioned
from ..networks import MLP
from ..noises import VP
from ..noises import Gaussian as Noise
from ..objectives import Denoising, Diffusion, Implicit, Objective, Sliced
from ..tensors import Draws, Streams, seeded
from ..training import train
from .base import DensityEstimator, seed_of
from .densities import Density, FromEnergy, FromField, FromFlow, Standardised, losses
from .proposals import Wide

Points = Float[Tensor, "n d"]
Rows = tuple[Float[Tensor, "_ d"], Float[Tensor, "_"]]
Network = nn.Module | Callable[[int], nn.Module]
_CHECKS, _DRAWS, _LEVELS = 40, 1024, (0.02, 0.05, 0.1, 0.2, 0.4)


class Tilted(nn.Module):
    """−log N(x; m, C) + f(x): the energy of a Gaussian times e^{−f}, integrable whenever f falls no faster than linearly.

    >>> Tilted(Gaussian(torch.zeros(1), torch.eye(1)), nn.Linear(1, 1))(torch.ones(2, 1)).shape
    torch.Size([2, 1])
    """

    def __init__(self, base: Gaussian, network: nn.Module):
        super().__init__()
        self.base = base
        self.network = network
        self.shape = base.shape

    def forward(self, x: Points) -> Float[Tensor, "n 1"]:
        return -self.base.log_density(x)[:, None] + self.network(x)


@dataclass(frozen=True)
class Weighted(Objective):
    """r_i ℓ_i: any objective with observation weights, which come with the batch.

    >>> Weighted(Implicit())(lambda x: -x, torch.ones(1, 2), weight=torch.tensor([2.0])).item()
    -2.0
    """

    objective: Objective

    def __call__(self, model: Any, x: Points, generator: Draws | None = None, **cond) -> Float[Tensor, "n"]:
        weight = cond.pop("weight")
        return weight * self.objective(model, x, generator, **cond)


class ScoreMatching(DensityEstimator):
    """∇ log p by a network: `Diffusion` over noise levels by default, or any objective; then log p, draws, and its gradient.

    For tables of up to some dozens of columns and hundreds of rows or more. ``network`` is a module, copied before it is trained,
    or a function of the number of columns; an `MLP` unless given. With objectives at no noise it may be an `Energy`, which has a
    log-density, or a field, which has none. ``noise`` is where a denoiser is trained, `VP()` by default.

    ``steps`` of ``batch`` rows at ``learning_rate``; the share ``held_out`` of the rows says which of the weights on the way are kept
    (0: the last). ``floor`` is the noise level, in standard deviations, at which data are taken to lie: the density is that of data
    with so much noise, which hides rounding and ties. The gradient of a denoiser is the score that it learned at the noise level
    of least `losses` of the rows held out (without them, 0.1). ``sampling_steps`` is for drawing from a denoiser.

    After ``fit``: `model_` (of standardised rows), `loss_` (held out, of the weights that were kept) and `best_step_`.
    Raises, by ``fit``: RangeError for numbers out of range, DivergedError for losses that are not finite, and as the networks do.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> model = ScoreMatching(steps=20).fit(x)
    >>> model.score_samples(x[:3]).shape, model.sample(4, random_state=0).shape
    ((3,), (4, 2))
    """

    def __init__(
        self,
        objective: Objective | None = None,
        network: Network | None = None,
        noise: Noise | None = None,
        steps: int = 1000,
        batch: int = 256,
        learning_rate: float = 1e-3,
        held_out: float = 0.1,
        floor: float = 0.02,
        sampling_steps: int = 20,
        random_state: Any = 0,
    ):
        self.objective = objective
        self.network = network
        self.noise = noise
        self.steps = steps
        self.batch = batch
        self.learning_rate = learning_rate
        self.held_out = held_out
        self.floor = floor
        self.sampling_steps = sampling_steps
        self.random_state = random_state

    model_: nn.Module
    loss_: float
    best_step_: int

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> "ScoreMatching":
        """Train on the rows of X. ``sample_weight``: the importance of each row. Raises: as the class says."""
        if not 0 <= self.held_out <= 0.5 or not 0 < self.floor <= 1:
            raise RangeError(
                f"ScoreMatching(held_out={self.held_out:g}, floor={self.floor:g}): wanted 0 ≤ held_out ≤ 0.5 and 0 < floor ≤ 1."
            )
        x, mass = self._learn(X, sample_weight)
        seed = seed_of(self.random_state)
        z = self.scaling_.to_model(x)
        objective = Diffusion() if self.objective is None else self.objective
        with seeded(seed):
            model = self._model(objective, z)
        kept = round(self.held_out * len(z))
        order = torch.randperm(len(z), generator=torch.Generator().manual_seed(seed))
        fresh, seen = order[:kept], order[kept:]
        rows = (z[seen].float(), mass[seen].float()), (z[fresh].float(), mass[fresh].float())
        self.model_ = self._trained(model.float(), objective, *rows, seed).double()
        self.density_ = Standardised(self._density(self.model_, z, z[fresh], seed), self.scaling_)
        return self

    def _model(self, objective: Objective, z: Points) -> nn.Module:
        d, static = z.shape[1], isinstance(objective, Implicit | Sliced | Denoising)
        network = copy.deepcopy(self.network) if isinstance(self.network, nn.Module) else None
        if network is None and self.network is not None:
            network = self.network(d)
        if static:
            if network is None:
                network = Energy(Tilted(Shrunk(0.1).fit(z), MLP(d, 64, 2, out=1)))
            if isinstance(network, Denoiser):
                raise ShapeError(
                    f"ScoreMatching: {type(objective).__name__} is for a score of x alone, and {type(network).__name__} wants a "
                    "noise level; take Diffusion() or AcrossNoise(objective)."
                )
            return network
        if isinstance(network, Denoiser):
            return network
        return Preconditioned(MLP(d, 128, 3) if network is None else network, self.noise or VP())

    def _trained(self, model: nn.Module, objective: Objective, seen: Rows, fresh: Rows, seed: int) -> nn.Module:
        """The average of the weights at the step of least loss of the fresh rows, measured on the same noise each time."""
        kept = len(fresh[0])
        often = -(-_DRAWS // kept) if kept else 0
        rows, weight = fresh[0].repeat(often, 1), fresh[1].repeat(often)
        source = batches(seen[0], self.batch, seed=seed, weight=seen[1])
        best: dict | None = None
        self.loss_, self.best_step_ = math.inf, self.steps
        every = max(1, self.steps // _CHECKS)
        training = train(
            model, Weighted(objective), source, steps=self.steps, learning_rate=self.learning_rate, seed=seed
        )
        for progress in training:
            average: Any = progress.average
            if kept and (progress.step % every == 0 or progress.step == self.steps):
                with torch.no_grad():
                    each = objective(average, rows, Streams(seed, range(len(rows))))
                loss = float(weight @ each / weight.sum())
                if loss < self.loss_:
                    self.loss_, self.best_step_ = loss, progress.step
                    best = copy.deepcopy(average.state_dict())
        if best is not None:
            average.load_state_dict(best)
        return average

    def _density(self, model: nn.Module, z: Points, fresh: Float[Tensor, "m d"], seed: int) -> Density:
        if isinstance(model, Denoiser):
            flows = [
                FromFlow(model, self.floor, level, self.sampling_steps) for level in _LEVELS if level >= self.floor
            ]
            if len(fresh) == 0 or len(flows) < 2:
                return FromFlow(model, self.floor, max(self.floor, 0.1), self.sampling_steps)
            return min(flows, key=lambda flow: float(losses(flow, Scaling.identity(), fresh).mean()))
        if hasattr(model, "energy"):
            return FromEnergy(model, Wide(z), seed)
        return FromField(model, z.shape[1])
