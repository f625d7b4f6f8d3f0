"""One noisy point: what denoising score matching regresses on, and what the regression comes to.

    x = x₀ + σε        one known source pulls with  ∇ log p(x | x₀) = (x₀ − x)/σ² = −ε/σ
    s(x) = E[−ε/σ | x] = Σ_i w_i (y_i − x)/σ²,     w_i ∝ N(x; y_i, σ² I)
    E[x₀ | x] = Σ_i w_i y_i = x + σ² s(x)          E[ε | x] = −σ s(x)

The sources are draws y_i of the density, so that the sum is exact for them; the density's own score is their limit.
"""

import math
from typing import Annotated, Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from ..exact import Empirical
from ..tensors import Streams
from . import methods
from .densities import Chosen, Place, Sigma
from .held import Held
from .methods import Method, Points
from .wire import Wire, packed

LEVELS = 60
LOWEST, HIGHEST = 0.02, 5.0


class PointRequest(Wire):
    """A pinned point under noise, its known source, and how many sources there are."""

    density: Chosen = Chosen()
    method: Method = "exact"
    sigma: Sigma = 0.6
    width: Annotated[float, Field(ge=0.1, le=10)] = 1.0
    run: str = ""
    at: tuple[Place, Place] = (0.4, 0.5)
    sources: Annotated[int, Field(ge=2, le=1000)] = 40
    picked: Annotated[int, Field(ge=0)] = 0


def looked(held: Held, wanted: PointRequest) -> dict[str, Any]:
    """The sources and their weights; the conditional target, the average, the density's own score and that of a method; all levels."""
    clean = sources(held, wanted)
    x = torch.tensor([wanted.at], dtype=torch.float64)
    sample = Empirical(clean.double())
    picked = min(wanted.picked, len(clean) - 1)
    score = methods.score(held, wanted.density, wanted.method, wanted.sigma, width=wanted.width, run=wanted.run)
    truth = methods.truth(held, wanted.density, wanted.sigma, wanted.run)
    with torch.no_grad():
        average, exact, ours = (f(x)[0] for f in (lambda x: sample.score(x, 1.0, wanted.sigma), truth, score))
    weights = posterior(clean, x, wanted.sigma)
    return {
        "sources": packed(clean),
        "weights": packed(weights),
        "effective": float(1 / (weights**2).sum()),
        "target": ((clean[picked].double() - x[0]) / wanted.sigma**2).tolist(),
        "average": average.tolist(),
        "exact": exact.tolist(),
        "score": ours.tolist(),
        "denoised": (x[0] + wanted.sigma**2 * average).tolist(),
        "epsilon": (-wanted.sigma * average).tolist(),
        "levels": _levels(sample, x),
    }


def sources(held: Held, wanted: PointRequest) -> Points:
    """The clean points: the first draws of the density, the same whatever else is asked."""
    return held.density(wanted.density, wanted.run).sample(wanted.sources, Streams(0, range(wanted.sources)))


def posterior(clean: Points, x: Float[Tensor, "1 2"], sigma: float) -> Float[Tensor, "n"]:
    """w_i = p(y_i | x) ∝ exp(−|x − y_i|²/2σ²).

    >>> posterior(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), torch.zeros(1, 2), 0.5).tolist()
    [0.5, 0.5]
    """
    return (-((clean.double() - x) ** 2).sum(1) / (2 * sigma**2)).softmax(0)


def _levels(sample: Empirical, x: Points) -> dict[str, Any]:
    """‖s‖ and ‖E[ε | x]‖ of this point at every noise level."""
    sigma = torch.logspace(math.log10(LOWEST), math.log10(HIGHEST), LEVELS, dtype=torch.float64)
    size = sample.score(x.expand(LEVELS, 2), torch.ones(LEVELS, dtype=torch.float64), sigma).norm(dim=1)
    return {"sigma": packed(sigma), "score": packed(size), "epsilon": packed(sigma * size)}
