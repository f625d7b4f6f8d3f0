"""Densities multiplied, divided and added, one noise level at a time.

    Product    p_t ∝ Π_i p_i,t^{w_i}        s = Σ_i w_i s_i,          x̂ = x_t/α + Σ_i w_i (x̂_i − x_t/α)
    Mixture    p_t ∝ Σ_i w_i p_i,t          s = Σ_i r_i s_i,          x̂ = Σ_i r_i x̂_i,    r_i ∝ w_i p_i,t(x_t)
    Given      p_t(x | c), c fixed

A negative weight negates: "this and not that" (Liu et al. 2022, arXiv:2206.01714). At t = 0 these are the products
wanted; at t > 0 the product of the noised densities is *not* the noised product, since the logarithm of a convolution is no sum.
A walk that follows the composed score as if it were a flow ends in another density. What is right at every level is
sampling p_t itself, from level to level: `Metropolis` (Du et al. 2023, arXiv:2302.11552).
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import RangeError
from ..models import Denoiser, Times, Values
from ..tensors import Draws, expand
from .auto import require_one_noise

Numbers = Float[Tensor, "batch"]
Energy = Callable[..., Numbers]


class Given(Denoiser):
    """x̂(x_t, t, **conditions), the conditions fixed: "a three" as a model of its own, ready to be composed.

    ``conditions`` by name, as for one example; None tells a model that works without. Others are passed on.

    >>> from scorefield.models import Preconditioned, clean
    >>> from scorefield.noises import VP
    >>> model = Preconditioned(lambda x, t, label: label[:, None] + 0 * x, VP(), clean)
    >>> Given(model, {"label": 3})(torch.zeros(2, 1), torch.tensor(0.5)).flatten()
    tensor([3., 3.])
    """

    def __init__(self, model: Denoiser, conditions: Mapping[str, Tensor | float | int | None]):
        super().__init__()
        self.model = model
        self.conditions = dict(conditions)
        self.noise = model.noise

    @property
    def shape(self) -> tuple[int, ...] | None:
        return self.model.shape

    @property
    def remedy(self) -> str:
        return self.model.remedy

    @property
    def energy(self) -> Energy | None:
        """That of the model, where it has one; None else."""
        known = getattr(self.model, "energy", None)
        return None if known is None else lambda xt, t, **cond: known(xt, t, **self._all(xt, cond))

    def forward(self, xt: Values, t: Times, **cond) -> Values:
        return self.model(xt, t, **self._all(xt, cond))

    def _all(self, xt: Values, cond: dict) -> dict:
        def rows(value: Tensor | float | int | None) -> Tensor | None:
            if value is None:
                return None
            each = torch.as_tensor(value, device=xt.device)
            return each.expand(len(xt), *each.shape)

        return cond | {name: rows(value) for name, value in self.conditions.items()}


class Product(Denoiser):
    """Π_i p_i^{w_i}: scores add, each with its weight; negative weights negate. Draw from it with `Metropolis`.

    "Both a and b" of one conditional model is ``Product((a, b, plain), (1, 1, -1))``: p(x | a) p(x | b) / p(x). Weights are 1 unless
    given. Walks start from N(0, σ²/Σ_i w_i), which is what the product becomes at the largest noise.
    Raises: RangeError for no models, another number of weights, models of different noises, or Σ_i w_i ≤ 0, which would have no
    normal distribution to start from.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import VP
    >>> a, b = (Gaussian(torch.tensor([m]), torch.eye(1)).denoiser(VP()) for m in (-1.0, 3.0))
    >>> x, t = torch.tensor([[0.5]]), torch.tensor(1e-3)
    >>> bool((Product((a, b)).score(x, t) - a.score(x, t) - b.score(x, t)).abs() < 1e-2)
    True
    """

    def __init__(self, models: Sequence[Denoiser], weights: Sequence[float] | None = None):
        super().__init__()
        weights = tuple(1.0 for _ in models) if weights is None else tuple(map(float, weights))
        _require_parts("Product", models, weights)
        self.models: Any = nn.ModuleList(models)
        self.weights = weights
        self.noise = models[0].noise
        if not self.total > 0:
            raise RangeError(
                f"Product(weights={weights}): they sum to {self.total:g}; the sum must be positive, or nothing is left to be "
                "normalised at large noise: give more weight to what is wanted than to what is not."
            )

    @property
    def shape(self) -> tuple[int, ...] | None:
        return self.models[0].shape

    @property
    def remedy(self) -> str:
        return f"Take smaller weights than Product(weights={self.weights})."

    @property
    def total(self) -> float:
        """Σ_i w_i, with products inside counted by theirs: the precision at large noise, in units of 1/σ²."""
        return sum(w * getattr(model, "total", 1.0) for w, model in zip(self.weights, self.models))

    @property
    def energy(self) -> Energy | None:
        """Σ_i w_i E_i, up to a constant of t, where every model has an energy; None else."""
        return self._energy if _energies(self.models) else None

    def prior(self, x: Values, generator: Draws | None = None) -> Values:
        return super().prior(x, generator) / math.sqrt(self.total)

    def forward(self, xt: Values, t: Times, **cond) -> Values:
        alpha, _ = self.noise.at(t, xt)
        there = xt / alpha
        return there + _total(w * (model(xt, t, **cond) - there) for w, model in zip(self.weights, self.models))

    def _energy(self, xt: Values, t: Times, **cond) -> Numbers:
        return _total(w * model.energy(xt, t, **cond) for w, model in zip(self.weights, self.models))


class Mixture(Denoiser):
    """Σ_i w_i p_i: "either a or b", each estimate counted by the probability that x_t came from its density.

    Needs the density itself: models with ``energy(xt, t)`` = −log p_t(x_t), such as exact ones. Energies known up to a constant only
    shift the weights. Raises: RangeError for no models, another number of weights, negative ones or none positive, models of
    different noises, or a model without an energy.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import VP
    >>> a, b = (Gaussian(torch.tensor([m]), torch.eye(1)).denoiser(VP()) for m in (-3.0, 3.0))
    >>> Mixture((a, b)).score(torch.zeros(1, 1), torch.tensor(0.5)).abs().item() < 1e-6
    True
    """

    def __init__(self, models: Sequence[Denoiser], weights: Sequence[float] | None = None):
        super().__init__()
        weights = tuple(1.0 for _ in models) if weights is None else tuple(map(float, weights))
        _require_parts("Mixture", models, weights)
        if min(weights) < 0 or not sum(weights) > 0:
            raise RangeError(f"Mixture(weights={weights}): weights must be at least 0, and one of them positive.")
        if not _energies(models):
            lacking = next(model for model in models if getattr(model, "energy", None) is None)
            raise RangeError(
                f"Mixture: {type(lacking).__name__} has no energy(xt, t), so that nobody knows which part x_t came from; "
                "use exact densities, or a Product."
            )
        self.models: Any = nn.ModuleList(models)
        self.weights = weights
        self.noise = models[0].noise

    @property
    def shape(self) -> tuple[int, ...] | None:
        return self.models[0].shape

    def energy(self, xt: Values, t: Times, **cond) -> Numbers:
        """−log Σ_i w_i p_i,t(x_t) / Σ_i w_i, in nats."""
        return math.log(sum(self.weights)) - self._logits(xt, t, **cond).logsumexp(0)

    def forward(self, xt: Values, t: Times, **cond) -> Values:
        responsible = self._logits(xt, t, **cond).softmax(0)
        return _total(expand(r, xt) * model(xt, t, **cond) for r, model in zip(responsible, self.models))

    def _logits(self, xt: Values, t: Times, **cond) -> Float[Tensor, "models batch"]:
        logs = torch.tensor(self.weights, dtype=xt.dtype, device=xt.device).log()
        return logs[:, None] - torch.stack([model.energy(xt, t, **cond) for model in self.models])


def _total(parts: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(parts)).sum(0)


def _energies(models: Iterable[Denoiser]) -> bool:
    return all(getattr(model, "energy", None) is not None for model in models)


def _require_parts(who: str, models: Sequence[Denoiser], weights: tuple[float, ...]) -> None:
    if not models or len(models) != len(weights):
        raise RangeError(
            f"{who}: {len(models)} models and {len(weights)} weights; one weight a model, at least one model."
        )
    if not all(map(math.isfinite, weights)):
        raise RangeError(f"{who}(weights={weights}): weights must be finite.")
    require_one_noise(who, tuple(models))
