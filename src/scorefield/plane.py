"""The toy laws of the plane with their exact score at every noise level: what a learned field is compared with.

`data.moons` and `data.spirals` are curves with Gaussian noise, p_t(x) = ∫ N(x; α c(u), (α² s² + σ²) I) du: sums over Gauss–Legendre
nodes, which are exact to rounding as soon as nodes lie closer than s. `data.rings` is a law of the radius, with ρ = ‖x‖

    p_t(x) = 1/(2πσ²) Σ_k ∫ N(r; k, s²)/count exp(−(ρ − αr)²/2σ²) I₀(ραr/σ²) e^{−ραr/σ²} dr

by Gauss–Hermite nodes about the product of the two Gaussians. `data.checkerboard` is a sum of products of Φ. In each, Tweedie's
formula turns E[X_0 | x_t] into the score. All is computed in float64.
"""

import math
from abc import abstractmethod

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from . import data
from .errors import RangeError, ShapeError
from .exact import Density, Mixture
from .models import Times, Values
from .tensors import Draws, expand

Nodes = Float[Tensor, "nodes"]
ROWS = 256
FLOOR = 1e-4
"""Noise below this is taken as this by `Rings`, whose formula divides by it: far below every width that it draws."""


class Planar(Density):
    """A law of ℝ² that knows log p_t and E[X_0 | x_t] together; the score is Tweedie's, s = (α x̂ − x_t)/σ²."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    def denoise(self, xt: Values, alpha: Times, sigma: Times) -> Values:
        return self._both(*_scaled(self, xt, alpha, sigma))[1].to(xt.dtype)

    def log_density(self, x: Values, alpha: Times | float = 1.0, sigma: Times | float = 0.0) -> Float[Tensor, "batch"]:
        return self._both(*_scaled(self, x, alpha, sigma))[0].to(x.dtype)

    def score(self, x: Values, alpha: Times | float = 1.0, sigma: Times | float = 0.0) -> Values:
        x64, a, s = _scaled(self, x, alpha, sigma)
        return ((a * self._both(x64, a, s)[1] - x64) / s**2).to(x.dtype)

    @abstractmethod
    def _both(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """(log p_t(x), E[X_0 | x]); alpha and sigma are (batch, 1), in float64."""


class Cloud(Planar):
    """p(x) = Σ_k w_k N(x; m_k, s² I): a mixture of one width, fast for hundreds of components.

    Raises: ShapeError unless means are (K, 2) and weights (K,); RangeError unless s > 0.

    >>> Cloud(torch.ones(2), torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), 0.5)(torch.zeros(1, 2)).abs().sum().item()
    0.0
    """

    def __init__(self, weights: Float[Tensor, "*weights"], means: Float[Tensor, "*means"], std: float):
        if means.ndim != 2 or means.shape[1] != 2 or weights.shape != means.shape[:1]:
            raise ShapeError(
                f"Cloud: weights {tuple(weights.shape)}, means {tuple(means.shape)}: wanted (K,) and (K, 2)."
            )
        if not 0 < std < math.inf:
            raise RangeError(f"Cloud(std={std:g}): std must be positive.")
        self.weights, self.means, self.std = weights, means, std

    def score(self, x: Values, alpha: Times | float = 1.0, sigma: Times | float = 0.0) -> Values:
        x64, a, s = _scaled(self, x, alpha, sigma)
        return ((a * self._responsible(x64, a, s)[1] - x64) / (a**2 * self.std**2 + s**2)).to(x.dtype)

    def sample(self, n: int, generator: Draws | None = None) -> Values:
        return Mixture(self.weights, self.means, self.std**2 * torch.eye(2).to(self.means)).sample(n, generator)

    def _responsible(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """(log p_t(x), Σ_k r_k m_k), in blocks of rows that stay in the cache."""
        means, weights = self.means.double(), self.weights.double()
        means, weights = means.to(x.device), (weights / weights.sum()).to(x.device)
        right = torch.cat([means, torch.ones_like(means[:, :1])], 1) * weights[:, None]
        found = []
        for y, a, s in zip(x.split(ROWS), alpha.split(ROWS), sigma.split(ROWS)):
            variance = a**2 * self.std**2 + s**2
            half = 0.5 * (means**2).sum(1)
            logits = torch.addmm(-(a**2) * half, a * y, means.T).div_(variance)
            top = logits.detach().amax(1, keepdim=True)
            sums = logits.sub_(top).exp_() @ right
            log = (
                top - 0.5 * (y**2).sum(1, keepdim=True) / variance + sums[:, 2:].log() - (2 * math.pi * variance).log()
            )
            found.append(torch.cat([log, sums[:, :2] / sums[:, 2:]], 1))
        both = torch.cat(found)
        return both[:, 0], both[:, 1:]

    def _both(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        log, center = self._responsible(x, alpha, sigma)
        gain = alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2)
        return log, center + gain * (x - alpha * center)


class Curve(Cloud):
    """A `Cloud` along a curve, drawn as `data.toys` draws it."""

    def __init__(self, draw, weights: Nodes, means: Float[Tensor, "nodes 2"], std: float):
        super().__init__(weights, means, std)
        self.draw = draw

    def sample(self, n: int, generator: Draws | None = None) -> Values:
        return self.draw(n, generator=generator)


class Rings(Planar):
    """The law of `data.rings`, p(x) = Σ_k N(‖x‖; k, s²) / (2π‖x‖ count), in units where E‖x‖² = 2.

    Noise below 1e-4 counts as 1e-4. Raises: RangeError for count below 1 or a noise that is not positive.

    >>> Rings().denoise(torch.zeros(1, 2), torch.tensor(1.0), torch.tensor(0.5)).tolist()
    [[0.0, 0.0]]
    """

    def __init__(self, count: int = 3, noise: float = 0.05):
        if count < 1 or not 0 < noise < math.inf:
            raise RangeError(f"Rings(count={count}, noise={noise:g}): at least 1 ring, and noise above 0.")
        self.count, self.noise = count, noise

    def sample(self, n: int, generator: Draws | None = None) -> Values:
        return data.rings(n, count=self.count, noise=self.noise, generator=generator)

    @property
    def radii(self) -> Float[Tensor, "count"]:
        """The radius of every ring, in float64.

        >>> Rings(1, noise=0.01).radii
        tensor([1.4141], dtype=torch.float64)
        """
        return self._size * torch.arange(1, self.count + 1, dtype=torch.float64)

    @property
    def std(self) -> float:
        """The standard deviation of the radius about a ring's.

        >>> round(Rings(1, noise=0.01).std, 4)
        0.0141
        """
        return self._size * self.noise

    @property
    def _size(self) -> float:
        return math.sqrt(2 / ((self.count + 1) * (2 * self.count + 1) / 6 + self.noise**2))

    def score(self, x: Values, alpha: Times | float = 1.0, sigma: Times | float = 0.0) -> Values:
        return super().score(x, alpha, torch.as_tensor(sigma, dtype=torch.float64).clamp(min=FLOOR))

    def _both(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        std, radii = self.std, self.radii.to(x)
        sigma = sigma.clamp(min=FLOOR)
        rho = x.norm(dim=1, keepdim=True)
        total = sigma**2 + alpha**2 * std**2
        middle = (radii * sigma**2 + alpha * rho * std**2) / total
        z, w = normal_nodes(32)
        r = middle[..., None] + (std * sigma / total.sqrt())[..., None] * z
        argument = (rho * alpha / sigma**2)[..., None] * r
        bessel = torch.special.i0e(argument) * w
        # N(ρ; αk, total) √(2πσ²)/(2πσ²), and the mean of I₀ e^{−·} over r
        logs = -((rho - alpha * radii) ** 2) / (2 * total) - (2 * math.pi * total.sqrt() * sigma).log()
        logs = logs + bessel.sum(-1).log() - math.log(self.count)
        along = (torch.special.i1e(argument) * r * w).sum(-1) / bessel.sum(-1)
        inward = (logs.softmax(1) * along).sum(1, keepdim=True)
        return logs.logsumexp(1), inward * x / rho.clamp(min=1e-300)


class Checkerboard(Planar):
    """The law of `data.checkerboard`, uniform on 8 squares of a 4 × 4 board, in units where E‖x‖² = 2.

    It has edges, and so no score without noise. Raises: RangeError at sigma = 0.

    >>> Checkerboard().score(torch.zeros(1, 2), 1.0, 1.0).abs().max().item() < 1e-6
    True
    """

    side = math.sqrt(2 / (8 / 3))
    """The length of a square's side; the board reaches two of them from the middle."""

    def sample(self, n: int, generator: Draws | None = None) -> Values:
        return data.checkerboard(n, generator=generator)

    def _both(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        if bool((sigma <= 0).any()):
            raise RangeError("Checkerboard at sigma = 0: edges have no score; use a noise level above 0.")
        side = self.side
        low = side * torch.arange(-2, 2).to(x)
        below, above = ((alpha[..., None] * edge - x[..., None]) / sigma[..., None] for edge in (low, low + side))
        # Φ(above) − Φ(below) on the side where both are small, so that nothing cancels far away.
        flip = below > 0
        lower, upper = torch.where(flip, -above, below), torch.where(flip, -below, above)
        top = torch.special.log_ndtr(upper)
        mass = top + torch.log1p(-(torch.special.log_ndtr(lower) - top).exp())
        slope = _normal(below, mass) - _normal(above, mass)
        mean = (x[..., None] + sigma[..., None] * slope) / alpha[..., None]
        across, up = torch.tensor([(i, j) for i in range(4) for j in range(4) if (i + j) % 2 == 0], device=x.device).T
        logs = mass[:, 0, across] + mass[:, 1, up] - math.log(8 * side**2) - 2 * alpha.log()
        r = logs.softmax(1)
        center = torch.stack([(r * mean[:, 0, across]).sum(1), (r * mean[:, 1, up]).sum(1)], 1)
        return logs.logsumexp(1), center


def moons(noise: float = 0.05) -> Curve:
    """The law of `data.moons` with its exact score at every noise level.

    >>> x = data.moons(4000, generator=torch.Generator().manual_seed(0))
    >>> bool(abs((moons()(x) * x).sum(1).mean() + 2) < 0.3)
    True
    """
    square = 0.75 + 0.5 - 4 / math.pi**2 + (2 / math.pi - 0.25) ** 2 + 2 * noise**2
    u, w = _unit_interval(max(64, math.ceil(7 / noise)))
    x, y = (math.pi * u).cos(), (math.pi * u).sin()
    means = torch.cat([torch.stack([x - 0.5, y - 0.25], 1), torch.stack([0.5 - x, 0.25 - y], 1)])
    size = math.sqrt(2 / square)

    def draw(n: int, generator: Draws | None = None) -> Values:
        return data.moons(n, noise=noise, generator=generator)

    return Curve(draw, torch.cat([w, w]), size * means, size * noise)


def spirals(turns: float = 1.5, noise: float = 0.02) -> Curve:
    """The law of `data.spirals` with its exact score at every noise level.

    >>> spirals().denoise(torch.zeros(1, 2), torch.tensor(1.0), torch.tensor(3.0)).abs().max().item() < 1e-6
    True
    """
    r, w = _unit_interval(max(64, math.ceil(7 * turns / noise)))
    angle = 2 * math.pi * turns * r
    arm = torch.stack([r * angle.cos(), r * angle.sin()], 1)
    size = math.sqrt(2 / (0.5 + 2 * noise**2))

    def draw(n: int, generator: Draws | None = None) -> Values:
        return data.spirals(n, turns=turns, noise=noise, generator=generator)

    return Curve(draw, torch.cat([w * r, w * r]), size * torch.cat([arm, -arm]), size * noise)


def _scaled(density: Density, x: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
    if x.ndim != 2 or x.shape[1] != 2:
        raise ShapeError(f"{type(density).__name__} on 2 variables got x of shape {tuple(x.shape)}.")
    one = torch.ones(len(x), 1, dtype=torch.float64, device=x.device)
    alpha, sigma = (expand(torch.as_tensor(s, dtype=torch.float64), x) * one for s in (alpha, sigma))
    return x.double(), alpha, sigma


def _normal(u: Tensor, log_mass: Tensor) -> Tensor:
    """φ(u) / mass."""
    return (-0.5 * u**2 - 0.5 * math.log(2 * math.pi) - log_mass).exp()


def normal_nodes(n: int) -> tuple[Nodes, Nodes]:
    """Gauss–Hermite nodes and weights of E f(Z), Z ~ N(0, 1): exact for polynomials of degree 2n − 1.

    >>> z, w = normal_nodes(8)
    >>> [round(float((w * z**k).sum()), 9) for k in (0, 2, 4)]
    [1.0, 1.0, 3.0]
    """
    z, w = _nodes(np.polynomial.hermite_e.hermegauss, n)
    return z, w / math.sqrt(2 * math.pi)


def _unit_interval(n: int) -> tuple[Tensor, Tensor]:
    z, w = _nodes(np.polynomial.legendre.leggauss, n)
    return (z + 1) / 2, w / 2


def _nodes(rule, n: int) -> tuple[Tensor, Tensor]:
    z, w = rule(n)
    return torch.from_numpy(z), torch.from_numpy(w)
