"""Forward processes: how data become noise.

A Gaussian noise is X_t = α(t) X_0 + σ(t) Z with α(0) = 1, σ(0) = 0 and σ/α increasing on 0 ≤ t ≤ 1. It is the marginal of

    dX = f X dt + g dW,    f = α'/α,    g² = (σ²)' − 2 f σ²        (Lu et al. 2022, section 2.1, arXiv:2206.00927)

so that one who writes α and σ has written the stochastic differential equation.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import RangeError
from ..tensors import Draws, expand, normal


class Noise(ABC):
    """p(x_t | x_0): a forward process that turns data at t = 0 into a known distribution at t = 1."""

    @abstractmethod
    def perturb(
        self, x: Float[Tensor, "batch *event"], t: Float[Tensor, "*batch"], generator: Draws | None = None
    ) -> Float[Tensor, "batch *event"]:
        """x_t ~ p(x_t | x_0 = x)."""

    @abstractmethod
    def prior(self, x: Float[Tensor, "batch *event"], generator: Draws | None = None) -> Float[Tensor, "batch *event"]:
        """x_1 drawn from the distribution that the process forgets everything into, of the shape of x."""


@dataclass(frozen=True)
class Gaussian(Noise):
    """x_t = α(t) x_0 + σ(t) z: write `scales`, and drift, diffusion, signal-to-noise ratio and its inverse follow."""

    @abstractmethod
    def scales(self, t: Float[Tensor, "*batch"]) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
        """(α(t), σ(t)) with α(0) = 1, σ(0) = 0 and σ/α increasing and finite."""

    def perturb(
        self, x: Float[Tensor, "batch *event"], t: Float[Tensor, "*batch"], generator: Draws | None = None
    ) -> Float[Tensor, "batch *event"]:
        """x_t = α x + σ z, z ~ N(0, I)."""
        alpha, sigma = self.at(t, x)
        return alpha * x + sigma * normal(x, generator)

    def prior(self, x: Float[Tensor, "batch *event"], generator: Draws | None = None) -> Float[Tensor, "batch *event"]:
        """x_1 ~ N(0, σ(1)² I), of the shape of x."""
        return normal(x, generator) * self.prior_std

    @property
    def prior_std(self) -> float:
        """σ(1), the standard deviation of the prior."""
        return float(self.scales(torch.ones((), dtype=torch.float64))[1])

    def at(self, t: Float[Tensor, "*batch"], x: Float[Tensor, "batch *event"]) -> tuple[Tensor, Tensor]:
        """(α(t), σ(t)) in the dtype of x, viewed against it: computed in float64, cast once."""
        t = torch.as_tensor(t, device=x.device)
        alpha, sigma = self.scales(t.double())
        return expand(alpha, x).to(x.dtype), expand(sigma, x).to(x.dtype)

    def ratio(self, t: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """σ(t)/α(t), the noise level in units of the data."""
        alpha, sigma = self.scales(t)
        return sigma / alpha

    def rates(self, t: Float[Tensor, "*batch"]) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
        """(f(t), g²(t)) of dX = f X dt + g dW, by differentiating `scales`."""
        with torch.enable_grad():
            t = torch.as_tensor(t).detach().clamp(min=1e-12).requires_grad_()
            alpha, sigma = (scale + 0 * t for scale in self.scales(t))
            (dalpha,) = torch.autograd.grad(alpha.sum(), t, retain_graph=True)
            (dsigma,) = torch.autograd.grad(sigma.sum(), t)
        alpha, sigma = alpha.detach(), sigma.detach()
        f = dalpha / alpha
        return f, 2 * sigma * (dsigma - f * sigma)

    def time(self, ratio: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """The t at which σ(t)/α(t) = ratio, by bisection to float64 accuracy; subclasses may know it in closed form.

        Raises: RangeError if the ratio is negative or above σ(1)/α(1).
        """
        ratio = self._inside(ratio)
        low, high = torch.zeros_like(ratio), torch.ones_like(ratio)
        for _ in range(60):
            middle = (low + high) / 2
            below = self.ratio(middle) < ratio
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2

    def _inside(self, ratio: Float[Tensor, "*batch"] | float) -> Float[Tensor, "*batch"]:
        ratio = torch.as_tensor(ratio, dtype=torch.float64)
        top = float(self.ratio(torch.ones((), dtype=torch.float64)))
        if bool(((ratio < 0) | (ratio > top * (1 + 1e-9))).any()) or not bool(ratio.isfinite().all()):
            worst = float(ratio.flatten()[(ratio - top / 2).abs().flatten().argmax()])
            raise RangeError(
                f"{self}.time(ratio={worst:g}): the ratio sigma/alpha must lie in [0, {top:g}]; "
                "lower it, or choose a noise that reaches further."
            )
        return ratio.clamp(max=top)


def require_order(name: str, low: str, small: float, high: str, large: float) -> None:
    """Raises RangeError unless 0 < small < large.

    >>> require_order("VE", "sigma_min", 0.1, "sigma_max", 10.0)
    """
    if not 0 < small < large < float("inf"):
        raise RangeError(
            f"{name}({low}={small:g}, {high}={large:g}): 0 < {low} < {high} must hold; "
            f"choose {low} near the finest detail and {high} near the largest distance in the data."
        )
