"""Times to visit: descending, in float64, from t = 1 through ``steps`` noise levels to t = 0.

A grid is even in some function u of the noise level r = σ/α, from r(1) down to ``floor``; the last step then goes to t = 0.

    even     u = t
    karras   u = r^{1/ρ}                 Karras et al. 2022, eq. 5, arXiv:2206.00364
    logsnr   u = log r = −½ log SNR      Lu et al. 2022, section 3.3, arXiv:2206.00927
"""

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import RangeError
from .noises import Gaussian


def even(noise: Gaussian, steps: int, *, floor: float = 2e-3, ceiling: float | None = None) -> Float[Tensor, "times"]:
    """steps + 1 times, even in t down to σ/α = floor, then 0: the grid of DDPM.

    Raises: RangeError for steps < 1 or a floor outside the noise's range.

    >>> from scorefield.noises import EDM
    >>> even(EDM(1.0), 4, floor=0.25)
    tensor([1.0000, 0.7500, 0.5000, 0.2500, 0.0000], dtype=torch.float64)
    """
    low, high = _ends("even", noise, steps, floor, ceiling)
    return _finish(torch.linspace(float(noise.time(high)), float(noise.time(low)), steps, dtype=torch.float64), ceiling)


def karras(
    noise: Gaussian, steps: int, *, rho: float = 7.0, floor: float = 2e-3, ceiling: float | None = None
) -> Float[Tensor, "times"]:
    """steps + 1 times, even in (σ/α)^{1/ρ}, then 0: most steps where detail forms, made for `Heun`.

    Karras et al. (2022), eq. 5, arXiv:2206.00364. Raises: RangeError for steps < 1, rho ≤ 0, or a floor outside the noise's range.

    >>> from scorefield.noises import EDM
    >>> [round(float(t) * 80, 3) for t in karras(EDM(80.0), 4)]
    [80.0, 9.723, 0.47, 0.002, 0.0]
    """
    if not rho > 0:
        raise RangeError(f"karras(rho={rho:g}): rho must be positive; the paper's value is 7.")
    low, high = _ends("karras", noise, steps, floor, ceiling)
    u = torch.linspace(float(high ** (1 / rho)), float(low ** (1 / rho)), steps, dtype=torch.float64)
    return _finish(noise.time((u**rho).clamp(low, high)), ceiling)


def logsnr(noise: Gaussian, steps: int, *, floor: float = 2e-3, ceiling: float | None = None) -> Float[Tensor, "times"]:
    """steps + 1 times, even in log(σ/α), then 0: geometric noise levels. What samplers choose by default, from 0.01.

    Raises: RangeError for steps < 1 or a floor outside the noise's range.

    >>> from scorefield.noises import EDM
    >>> [round(float(t), 3) for t in logsnr(EDM(1.0), 3, floor=0.01)]
    [1.0, 0.1, 0.01, 0.0]
    """
    low, high = _ends("logsnr", noise, steps, floor, ceiling)
    u = torch.linspace(float(high.log()), float(low.log()), steps, dtype=torch.float64)
    return _finish(noise.time(u.exp().clamp(low, high)), ceiling)


def _ends(name: str, noise: Gaussian, steps: int, floor: float, ceiling: float | None) -> tuple[Tensor, Tensor]:
    if steps < 1:
        raise RangeError(f"{name}(steps={steps}): steps must be at least 1.")
    top = float(noise.ratio(torch.ones((), dtype=torch.float64)))
    high = top if ceiling is None else ceiling
    if not 0 < floor < high <= top:
        raise RangeError(
            f"{name}(floor={floor:g}, ceiling={high:g}): 0 < floor < ceiling ≤ {top:g} must hold for {noise}; "
            "choose a smaller floor."
        )
    return torch.tensor(floor, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)


def _finish(times: Tensor, ceiling: float | None) -> Tensor:
    if ceiling is None:
        times[0] = 1.0  # not a rounding error below it
    return torch.cat([times, times.new_zeros(1)])
