"""Scores and denoisers in closed form: what every learned score is measured against.

A mixture Σ_k w_k N(m_k, C_k) stays one under noise: x_t ~ Σ_k w_k N(α m_k, α² C_k + σ² I). With C_k = Q Λ Qᵀ and
v = α² Λ + σ², u = Qᵀ(x − α m_k), responsibilities r_k ∝ w_k N(x; α m_k, ·),

    ∇ log p_t(x) = −Σ_k r_k Q (u/v),        E[X_0 | x_t] = Σ_k r_k (m_k + α Q (Λ u/v)).

Seen through y = A x + N(0, s² I) it stays one too, with S_k = A C_k Aᵀ + s² I and G_k = C_k Aᵀ S_k⁻¹,

    p(x | y) ∝ Σ_k w_k N(y; A m_k, S_k) N(x; m_k + G_k (y − A m_k), C_k − G_k A C_k).

`Gaussian` is one component; `Empirical` is one of zero width at each data point, the score that a network would
learn if it could memorise.
"""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import RangeError, ShapeError
from .models import Denoiser, Times, Values
from .noises import Gaussian as GaussianNoise
from .tensors import Draws, expand, normal, uniform

Numbers = Float[Tensor, "batch"]


class Density(ABC):
    """A distribution whose score is known at every noise level. Calling it gives ∇ log p(x): it is a score."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The event shape of one example."""

    @abstractmethod
    def denoise(self, xt: Values, alpha: Times, sigma: Times) -> Values:
        """E[X_0 | α X_0 + σ Z = xt]."""

    @abstractmethod
    def log_density(self, x: Values, alpha: Times | float = 1.0, sigma: Times | float = 0.0) -> Numbers:
        """log p of α X_0 + σ Z at x, in nats."""

    @abstractmethod
    def score(self, x: Values, alpha: Times | float = 1.0, sigma: Times | float = 0.0) -> Values:
        """∇ log p of α X_0 + σ Z at x."""

    @abstractmethod
    def sample(self, n: int, generator: Draws | None = None) -> Values:
        """n draws."""

    def __call__(self, x: Values) -> Values:
        return self.score(x)

    def energy(self, x: Values) -> Numbers:
        """−log p(x), in nats."""
        return -self.log_density(x)

    def denoiser(self, noise: GaussianNoise) -> "Known":
        """The exact denoiser of this density under a noise."""
        return Known(self, noise)


class Known(Denoiser):
    """E[X_0 | x_t] of a known density: a denoiser without error, for tests, teaching and bounds.

    >>> from scorefield.noises import VE
    >>> Known(Gaussian(torch.zeros(2), torch.eye(2)), VE())(torch.ones(1, 2), torch.tensor(0.0))
    tensor([[1., 1.]])
    """

    def __init__(self, density: Density, noise: GaussianNoise):
        super().__init__()
        self.density = density
        self.noise = noise

    @property
    def shape(self) -> tuple[int, ...]:
        return self.density.shape

    def forward(self, xt: Values, t: Times, **cond) -> Values:
        alpha, sigma = self.noise.scales(torch.as_tensor(t, device=xt.device).double())
        return self.density.denoise(xt, alpha.to(xt.dtype), sigma.to(xt.dtype))

    def score(self, xt: Values, t: Times, **cond) -> Values:
        alpha, sigma = self.noise.scales(torch.as_tensor(t, device=xt.device).double())
        return self.density.score(xt, alpha.to(xt.dtype), sigma.to(xt.dtype))

    def energy(self, xt: Values, t: Times, **cond) -> Numbers:
        """−log p_t(x_t), in nats."""
        alpha, sigma = self.noise.scales(torch.as_tensor(t, device=xt.device).double())
        return -self.density.log_density(xt, alpha.to(xt.dtype), sigma.to(xt.dtype))


class Components(Density):
    """What mixtures of Gaussians share: `weights` (K,), `means` (K, d), and the spectra of their covariances."""

    weights: Float[Tensor, "components"]
    means: Float[Tensor, "components d"]

    def _set(
        self,
        weights: Float[Tensor, "components"],
        means: Float[Tensor, "components d"],
        covariances: Float[Tensor, "*components d d"],
    ) -> None:
        values, vectors = torch.linalg.eigh(covariances.double().expand(len(means), -1, -1))
        if not bool((values > 0).all()):
            raise RangeError(
                f"{type(self).__name__}: smallest eigenvalue {float(values.min()):g} of a covariance; all must be positive."
            )
        self.weights, self.means = weights, means
        self._values, self._vectors = values.to(means), vectors.to(means)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.means.shape[1],)

    def _components(
        self, x: Values, alpha: Times | float, sigma: Times | float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if x.ndim != 2 or x.shape[1:] != self.shape:
            raise ShapeError(f"{type(self).__name__} on {self.shape[0]} variables got x of shape {tuple(x.shape)}.")
        x = x.to(torch.promote_types(x.dtype, torch.float32))  # squares over small variances overflow half precision
        alpha, sigma = (expand(torch.as_tensor(s, dtype=x.dtype), x).unsqueeze(-1) for s in (alpha, sigma))
        values, vectors = self._values.to(x), self._vectors.to(x)
        u = torch.einsum("kji,bkj->bki", vectors, x[:, None] - alpha * self.means.to(x))
        v = alpha**2 * values + sigma**2
        logs = self.weights.to(x).log() - self.weights.to(x).sum().log()
        logs = logs - 0.5 * (u**2 / v + v.log() + math.log(2 * math.pi)).sum(-1)
        return logs, u / v, values, vectors

    def log_density(self, x: Values, alpha: Times | float = 1.0, sigma: Times | float = 0.0) -> Numbers:
        return self._components(x, alpha, sigma)[0].logsumexp(1).to(x.dtype)

    def score(self, x: Values, alpha: Times | float = 1.0, sigma: Times | float = 0.0) -> Values:
        logs, whitened, _, vectors = self._components(x, alpha, sigma)
        return -torch.einsum("bk,kij,bkj->bi", logs.softmax(1), vectors, whitened).to(x.dtype)

    def denoise(self, xt: Values, alpha: Times, sigma: Times) -> Values:
        logs, whitened, values, vectors = self._components(xt, alpha, sigma)
        inside = expand(alpha, xt).unsqueeze(-1) * values * whitened
        responsible = logs.softmax(1)
        within = torch.einsum("bk,kij,bkj->bi", responsible, vectors, inside)
        return (responsible @ self.means.to(within) + within).to(xt.dtype)

    def sample(self, n: int, generator: Draws | None = None) -> Values:
        u = uniform(self.means.new_empty(n), generator)
        edges = (self.weights.cumsum(0) / self.weights.sum()).to(u)
        k = torch.searchsorted(edges, u).clamp(max=len(edges) - 1)
        z = normal(self.means.new_empty(n, *self.shape), generator) * self._values[k].sqrt()
        return self.means[k] + torch.einsum("bij,bj->bi", self._vectors[k], z)

    def _given(
        self, matrix: Float[Tensor, "*matrix"], y: Float[Tensor, "*observed"], noise: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(weights, means, covariances) of p(x | y = A x + N(0, noise² I)), computed in float64."""
        if matrix.ndim != 2 or matrix.shape[1:] != self.shape or y.shape != matrix.shape[:1]:
            raise ShapeError(
                f"{type(self).__name__}.given on {self.shape[0]} variables: matrix {tuple(matrix.shape)}, y {tuple(y.shape)}: "
                f"wanted (m, {self.shape[0]}) and (m,)."
            )
        if not 0 < noise < math.inf:
            raise RangeError(
                f"{type(self).__name__}.given(noise={noise:g}): noise must be positive, a standard deviation."
            )
        means, a = self.means.double(), matrix.double()
        vectors = self._vectors.double()
        prior = vectors * self._values.double()[:, None] @ vectors.mT
        total = a @ prior @ a.mT + noise**2 * torch.eye(len(a)).to(a)
        gain = torch.linalg.solve(total, a @ prior).mT
        left = y.double() - means @ a.mT
        shrink = torch.eye(len(a.T)).to(a) - gain @ a
        # Joseph's form: positive whatever the rounding.
        after = shrink @ prior @ shrink.mT + noise**2 * gain @ gain.mT
        misfit = (left[:, None] @ torch.linalg.solve(total, left[:, :, None])).flatten()
        logs = self.weights.double().log() - 0.5 * (misfit + torch.linalg.slogdet(total).logabsdet)
        like = self.means.dtype
        return logs.softmax(0).to(like), (means + (gain @ left[:, :, None])[:, :, 0]).to(like), after.to(like)


class Mixture(Components):
    """p(x) = Σ_k w_k N(x; m_k, C_k). ``covariances`` may be (K, d, d) or one (d, d) for all; weights are normalised.

    Raises: ShapeError if the shapes disagree, RangeError for negative weights or covariances that are not positive definite.

    >>> pair = Mixture(torch.ones(2), torch.tensor([[-2.0], [2.0]]), torch.eye(1))
    >>> pair(torch.zeros(1, 1)).abs().item()
    0.0
    """

    def __init__(
        self,
        weights: Float[Tensor, "*components"],
        means: Float[Tensor, "*means"],
        covariances: Float[Tensor, "*covariances"],
    ):
        if means.ndim != 2 or weights.shape != means.shape[:1] or covariances.shape[-2:] != (means.shape[1],) * 2:
            raise ShapeError(
                f"Mixture: weights {tuple(weights.shape)}, means {tuple(means.shape)}, covariances {tuple(covariances.shape)}: "
                "wanted (K,), (K, d) and (K, d, d) or (d, d)."
            )
        if bool((weights < 0).any()) or not float(weights.sum()) > 0:
            raise RangeError(f"Mixture(weights={weights.tolist()}): weights must be ≥ 0 and not all zero.")
        self.covariances = covariances
        self._set(weights, means, covariances)

    def given(self, matrix: Float[Tensor, "*matrix"], y: Float[Tensor, "*observed"], noise: float) -> "Mixture":
        """p(x | y) for y = A x + N(0, noise² I), a mixture again: the posterior that conditional samplers are judged by.

        ``matrix`` is A, (m, d); ``y`` one observation, (m,). Raises: ShapeError if they disagree, RangeError unless noise > 0.

        >>> pair = Mixture(torch.ones(2), torch.tensor([[-2.0], [2.0]]), torch.eye(1))
        >>> pair.given(torch.eye(1), torch.tensor([4.0]), 1.0).means.flatten()
        tensor([1., 3.])
        """
        return Mixture(*self._given(matrix, y, noise))


class Gaussian(Components):
    """N(m, C): s(x) = −C⁻¹(x − m). Raises: ShapeError if the shapes disagree, RangeError unless C is positive definite.

    >>> Gaussian(torch.zeros(1), torch.tensor([[4.0]])).score(torch.tensor([[2.0]])).item()
    -0.5
    """

    def __init__(self, mean: Float[Tensor, "*mean"], covariance: Float[Tensor, "*covariance"]):
        if mean.ndim != 1 or covariance.shape != (len(mean),) * 2:
            raise ShapeError(
                f"Gaussian: mean {tuple(mean.shape)}, covariance {tuple(covariance.shape)}: wanted (d,) and (d, d)."
            )
        self.mean = mean
        self.covariance = covariance
        self._set(torch.ones(1).to(mean), mean[None], covariance)

    def given(self, matrix: Float[Tensor, "*matrix"], y: Float[Tensor, "*observed"], noise: float) -> "Gaussian":
        """p(x | y) for y = A x + N(0, noise² I): N(m + G (y − A m), C − G A C), G = C Aᵀ (A C Aᵀ + noise² I)⁻¹.

        ``matrix`` is A, (m, d); ``y`` one observation, (m,). Raises: ShapeError if they disagree, RangeError unless noise > 0.

        >>> posterior = Gaussian(torch.zeros(1), torch.eye(1)).given(torch.eye(1), torch.tensor([4.0]), 1.0)
        >>> posterior.mean.item(), posterior.covariance.item()
        (2.0, 0.5)
        """
        _, means, covariances = self._given(matrix, y, noise)
        return Gaussian(means[0], covariances[0])


class Empirical(Density):
    """p_t = (1/n) Σ_i N(α y_i, σ² I): the noised empirical distribution of data y, of any event shape.

    Its denoiser is what training minimises to on a finite sample: a walk with it ends in a copy of a training row.
    All pairs come as one matrix product. It has no density at σ = 0.
    Raises: ShapeError for empty data, RangeError for σ = 0 in score or log_density.

    >>> two = Empirical(torch.tensor([[-1.0], [1.0]]))
    >>> two.denoise(torch.zeros(1, 1), torch.tensor(1.0), torch.tensor(0.5)).abs().item()
    0.0
    """

    def __init__(self, data: Values):
        if data.ndim < 2 or len(data) == 0:
            raise ShapeError(f"Empirical(data of shape {tuple(data.shape)}): wanted (n, *event) with n ≥ 1.")
        self.data = data

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape[1:])

    def _logits(self, x: Values, alpha: Times | float, sigma: Times | float) -> tuple[Tensor, Tensor, Tensor]:
        if x.shape[1:] != self.shape:
            raise ShapeError(f"Empirical of events {self.shape} got x of shape {tuple(x.shape)}.")
        flat, data = x.flatten(1), self.data.flatten(1).to(x)
        alpha, sigma = (expand(torch.as_tensor(s, dtype=x.dtype), flat) for s in (alpha, sigma))
        if bool((sigma <= 0).any()):
            raise RangeError("Empirical at sigma = 0: point masses have no score; use a noise level above 0.")
        squares = (flat**2).sum(1, keepdim=True) - 2 * alpha * (flat @ data.T) + alpha**2 * (data**2).sum(1)
        return -squares.clamp(min=0) / (2 * sigma**2), alpha, sigma

    def log_density(self, x: Values, alpha: Times | float = 1.0, sigma: Times | float = 0.0) -> Numbers:
        logits, _, sigma = self._logits(x, alpha, sigma)
        size = math.prod(self.shape)
        return (
            logits.logsumexp(1) - math.log(len(self.data)) - size * (sigma.reshape(-1) * math.sqrt(2 * math.pi)).log()
        )

    def denoise(self, xt: Values, alpha: Times, sigma: Times) -> Values:
        logits, _, _ = self._logits(xt, alpha, sigma)
        return (logits.softmax(1) @ self.data.flatten(1).to(xt)).reshape(xt.shape)

    def score(self, x: Values, alpha: Times | float = 1.0, sigma: Times | float = 0.0) -> Values:
        center = self.denoise(x, torch.as_tensor(alpha, dtype=x.dtype), torch.as_tensor(sigma, dtype=x.dtype))
        alpha, sigma = (expand(torch.as_tensor(s, dtype=x.dtype), x) for s in (alpha, sigma))
        return (alpha * center - x) / sigma**2

    def sample(self, n: int, generator: Draws | None = None) -> Values:
        u = uniform(self.data.new_empty(n, dtype=torch.float64), generator)
        return self.data[(u * len(self.data)).long().clamp(max=len(self.data) - 1)]
