"""How the score at a noise level is obtained: in closed form, from kernels, from an energy, from a denoiser, from a run.

Each is a function of x at σ, the score of p_σ, the law of x_0 + σ z. A denoiser under another noise is asked at the time where
σ(t)/α(t) = σ, and s_σ(x) = α s_t(α x). A run that is a static score knows one σ, and answers at that.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..closed import IMQ, CurlFree, KernelScore, NuMethod, median_width
from ..errors import RangeError
from ..exact import Density
from ..models import Denoiser
from ..server.problems import Refused
from ..tensors import Streams, normal
from . import densities
from .densities import Chosen
from .held import Held

Points = Float[Tensor, "n 2"]
Score = Callable[[Points], Points]
Method = Literal["exact", "kernel", "energy", "network", "run"]
KERNEL_ROWS, KERNEL_STEPS = 300, 10


def truth(held: Held, chosen: Chosen, sigma: float, run: str = "") -> Score:
    """The exact score of the chosen density at σ."""
    return partial(held.density(chosen, run).score, alpha=1.0, sigma=sigma)


def level(held: Held, method: Method, sigma: float, run: str = "") -> float:
    """The noise level at which a method answers: the one that is asked for, or the only one that a static run knows."""
    own = held.planar(run).level if method == "run" else None
    return sigma if own is None else own


def itself(held: Held, chosen: Chosen, method: Method, run: str = "") -> bool:
    """Whether the density is what a static run draws, and the score that run's: then there is no noise between the two."""
    return method == "run" and chosen.name == "run" and held.planar(run).level is not None


def unmeasured(held: Held, chosen: Chosen, method: Method, sigma: float, run: str = "") -> str:
    """Why a score has no truth to be measured against at σ; "" if it has."""
    if itself(held, chosen, method, run):
        return "a static score and what it draws are one: choose the density that it learned"
    if sigma == 0 and densities.sharp(held.density(chosen, run)):
        return "this density has no score without noise"
    return ""


def score(held: Held, chosen: Chosen, method: Method, sigma: float, *, width: float = 1.0, run: str = "") -> Score:
    """The score of the chosen density at σ by a method.

    Raises: Refused, Untrained, for a network nobody trained yet; RangeError for a static run at another σ than its own.
    """
    if method == "exact":
        return truth(held, chosen, sigma, run)
    if method == "kernel":
        key = f"kernel {chosen.key} {run} {sigma:g} {width:g}"
        return held.models.get(key) or held.models.put(key, kernel(held.density(chosen, run), sigma, width))
    if method == "run":
        found = held.planar(run)
        if found.level not in (None, sigma):
            raise RangeError(f"run {found.name} at sigma={sigma:g}: a static score, at sigma = {found.level:g} alone.")
        return at_level(found.model, sigma) if isinstance(found.model, Denoiser) else static(found.model)
    model = trained(held, chosen, method, run)
    if model is None:
        raise Refused(
            409, "Untrained", f"{method} for {chosen.name}: nobody has trained it yet; POST /api/field/train."
        )
    return at_level(model, sigma)


def trained(held: Held, chosen: Chosen, method: Method, run: str = "") -> Denoiser | None:
    """The network that was trained for this density, or None; `learned.learn` trains one."""
    return held.models.get(f"{method} {chosen.key} {run}")


def kernel(density: Density, sigma: float, width: float = 1.0, rows: int = KERNEL_ROWS) -> Score:
    """A kernel score fitted to rows of x_0 + σ z, its width in median distances between them."""
    x = noisy(density, sigma, rows, seed=0)
    return KernelScore(CurlFree(IMQ(width * median_width(x))), NuMethod(KERNEL_STEPS)).fit(x)


def noisy(density: Density, sigma: float, rows: int, seed: int) -> Points:
    """Draws of x_0 + σ z in float64, the same for every σ but for σ itself."""
    streams = Streams(seed, range(rows))
    x = density.sample(rows, streams).double()
    return x + sigma * normal(x, streams)


def static(model: nn.Module) -> Score:
    """A model that is a score itself, in the numbers of its own weights.

    >>> static(nn.Linear(2, 2).double())(torch.zeros(1, 2)).dtype
    torch.float32
    """
    parameter = next(model.parameters(), torch.empty(0))
    return lambda x: model(x.to(parameter.dtype)).to(x.dtype)


def at_level(model: Denoiser, sigma: float) -> Score:
    """s_σ(x) = α s_t(α x) at the time where the noise of the model has σ(t)/α(t) = σ.

    >>> from scorefield import VP, exact
    >>> known = exact.Gaussian(torch.zeros(2), torch.eye(2)).denoiser(VP())
    >>> [round(v, 4) for v in at_level(known, 1.0)(torch.tensor([[1.0, 2.0]]))[0].tolist()]
    [-0.5, -1.0]
    """
    t = model.noise.time(torch.tensor(sigma, dtype=torch.float64))
    alpha = float(model.noise.scales(t)[0])

    def field(x: Points) -> Points:
        parameter = next(model.parameters(), None)
        y = alpha * (x if parameter is None else x.to(parameter.dtype))
        return alpha * model.score(y, t).to(x.dtype)

    return field
