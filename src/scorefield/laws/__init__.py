"""What every object must satisfy. Hand your own object to `check`: it passes its law, or you learn which line of it breaks.

    Space        P² = P = Pᵀ; exp_x(hv) = x + hv + O(h²); exp_x log_x y = y; Stein: E_r[⟨∇log r, f⟩ + div f] = 0
    Noise        α(0) = 1, σ(0) = 0; σ/α increases; g² ≥ 0; `time` inverts σ/α; m' = f m and v' = 2 f v + g² give α and σ²
    Divergence   unbiased for tr(P Df P); error O(h²) where there is a step h
    Denoiser     α x̂ + σ ε̂ = x_t; s = −ε̂/σ; dx/dt = α'x̂ + σ'ε̂; row i depends on row i and t_i only
    Objective    L(c s*) is least at c = 1 and L'' is the weighted E|s*|²; one number a row
    Sampler      measured order = declared order, in the mean and the standard deviation of a Gaussian; visits the grid

and all draw from their generator alone. Tolerances are five standard errors, or follow from the order. Nothing here is random:
draws come from fixed streams, so that a law that holds today holds tomorrow.
"""

from collections.abc import Callable
from types import ModuleType

from ..calculus import Divergence
from ..models import Denoiser
from ..noises import Noise
from ..objectives import Objective
from ..samplers import Sampler
from ..spaces import Space
from .base import Units, require, require_own_draws, require_zero, takes_denoiser
from .geometry import divergence, space
from .objectives import objective
from .processes import denoiser, noise
from .samplers import measured_order, sampler

__all__ = [
    "Units",
    "check",
    "denoiser",
    "divergence",
    "exported",
    "measured_order",
    "noise",
    "objective",
    "require",
    "require_own_draws",
    "require_zero",
    "sampler",
    "space",
    "takes_denoiser",
]


def check(thing: object) -> None:
    """Holds an object against the law of its kind: space, noise, divergence, denoiser, objective or sampler.

    Raises: LawError naming the object, the law and the numbers; TypeError for an object of no kind.

    >>> from scorefield.noises import VP
    >>> check(VP())
    """
    kinds: dict[type, Callable[..., None]] = {
        Space: space,
        Noise: noise,
        Divergence: divergence,
        Denoiser: denoiser,
        Objective: objective,
        Sampler: sampler,
    }
    for kind, law in kinds.items():
        if isinstance(thing, kind):
            return law(thing)
    raise TypeError(
        f"check({thing!r}): no law for {type(thing).__name__}; wanted one of {', '.join(k.__name__ for k in kinds)}."
    )


def exported(module: ModuleType, kind: type) -> list[type]:
    """The final classes of a kind that a module exports: how laws, documentation and command line find what is there.

    >>> from scorefield import spaces
    >>> [space.__name__ for space in exported(spaces, Space)]
    ['Euclidean', 'Sphere', 'Torus']
    """
    classes = (getattr(module, name) for name in getattr(module, "__all__", dir(module)))
    return [c for c in classes if isinstance(c, type) and issubclass(c, kind) and not c.__abstractmethods__]  # type: ignore[attr-defined]
