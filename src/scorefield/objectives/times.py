"""At which noise levels to train: (noise, x, generator) -> (t, correction), one of each per example.

Averages of correction × loss estimate the same integral for every choice that covers it:

    Uniform      t even on [t(floor), 1]                          correction 1 − t(floor)
    Importance   log σ/α even; the proposal of least variance     correction range · |dt/d log SNR|
                 for the likelihood weighting                     Song et al. 2021b, section 5, arXiv:2101.09258
    LogNormal    log σ/α ~ N(mean, std²) cut to the noise's range; the measure itself, correction 1
                                                                  Karras et al. 2022, table 1, arXiv:2206.00364
    Levels       L geometric levels, equally often, correction 1   Song & Ermon 2019, section 4, arXiv:1907.05600
    EvenLevels   L levels in equal steps of σ/α, equally often, correction 1
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import RangeError
from ..noises import Gaussian
from ..tensors import Draws, uniform

Values = Float[Tensor, "batch *event"]
Drawn = tuple[Float[Tensor, "batch"], Float[Tensor, "batch"]]


class Times(ABC):
    """(noise, x, generator) -> (t, correction): where a noisy objective looks, one time per example."""

    @abstractmethod
    def __call__(self, noise: Gaussian, x: Values, generator: Draws | None = None) -> Drawn:
        """Times in [0, 1] and the factor that each loss is multiplied by, both (batch,) in float64."""


def _even(x: Values, generator: Draws | None) -> Float[Tensor, "batch"]:
    return uniform(x.new_empty(len(x), dtype=torch.float64), generator)


def _top(noise: Gaussian, who: object, floor: float) -> float:
    top = float(noise.ratio(torch.ones((), dtype=torch.float64)))
    if not 0 < floor < top:
        raise RangeError(f"{who}: floor must lie in (0, {top:g}), the range of sigma/alpha of {noise}.")
    return top


@dataclass(frozen=True)
class Uniform(Times):
    """t ~ U(t(floor), 1). ``floor`` is the smallest σ/α visited.

    >>> from scorefield.noises import EDM
    >>> t, correction = Uniform(floor=0.5)(EDM(1.0), torch.ones(9, 2))
    >>> bool((t >= 0.5).all()), correction[0].item()
    (True, 0.5)
    """

    floor: float = 2e-3

    def __call__(self, noise: Gaussian, x: Values, generator: Draws | None = None) -> Drawn:
        _top(noise, self, self.floor)
        start = noise.time(torch.tensor(self.floor)).to(x.device)
        t = start + (1 - start) * _even(x, generator)
        return t, (1 - start).expand(len(x))


@dataclass(frozen=True)
class Importance(Times):
    """log σ/α ~ U(log floor, log σ(1)/α(1)): uniform in log-SNR, where the likelihood-weighted loss has least variance.

    >>> from scorefield.noises import VP
    >>> t, correction = Importance()(VP(), torch.ones(9, 2))
    >>> bool((correction > 0).all())
    True
    """

    floor: float = 2e-3

    def __call__(self, noise: Gaussian, x: Values, generator: Draws | None = None) -> Drawn:
        low, high = (
            torch.tensor(end, dtype=torch.float64).log() for end in (self.floor, _top(noise, self, self.floor))
        )
        t = noise.time((low + (high - low) * _even(x, generator)).exp().clamp(max=float(high.exp())))
        alpha, sigma = noise.scales(t)
        _, g2 = noise.rates(t)
        return t, (high - low) * 2 * sigma**2 / g2  # d log(σ/α)/dt = g²/(2σ²)


@dataclass(frozen=True)
class LogNormal(Times):
    """log σ/α ~ N(mean, std²), cut to the noise's range by its quantiles: effort where learning is possible.

    Karras et al. (2022), table 1, with mean −1.2 and std 1.2. Raises: RangeError for std ≤ 0.

    >>> from scorefield.noises import EDM
    >>> t, correction = LogNormal()(EDM(80.0), torch.ones(9, 2))
    >>> correction.unique().tolist()
    [1.0]
    """

    mean: float = -1.2
    std: float = 1.2

    def __post_init__(self):
        if not self.std > 0:
            raise RangeError(f"LogNormal(std={self.std:g}): std must be positive; 1.2 suits data of unit scale.")

    def __call__(self, noise: Gaussian, x: Values, generator: Draws | None = None) -> Drawn:
        top = noise.ratio(torch.ones((), dtype=torch.float64))
        inside = torch.special.ndtr((top.log() - self.mean) / self.std)
        z = torch.special.ndtri(inside * _even(x, generator))
        return noise.time((self.mean + self.std * z).exp().clamp(max=float(top))), torch.ones_like(z)


@dataclass(frozen=True)
class Levels(Times):
    """L noise levels, geometric from the noise's largest σ/α down to ``floor``, each equally often: the textbook NCSN.

    Song & Ermon (2019), section 4. ``count`` is L. Raises: RangeError for count < 2.

    >>> from scorefield.noises import EDM
    >>> [round(float(r), 3) for r in Levels(3, floor=0.01).levels(EDM(1.0))]
    [1.0, 0.1, 0.01]
    """

    count: int = 20
    floor: float = 1e-2

    def __post_init__(self):
        if self.count < 2:
            raise RangeError(f"Levels(count={self.count}): at least 2 noise levels make a ladder.")

    def levels(self, noise: Gaussian) -> Float[Tensor, "count"]:
        """The σ/α of every level, descending."""
        top = _top(noise, self, self.floor)
        ends = torch.tensor([top, self.floor], dtype=torch.float64).log()
        return torch.linspace(float(ends[0]), float(ends[1]), self.count, dtype=torch.float64).exp().clamp(max=top)

    def __call__(self, noise: Gaussian, x: Values, generator: Draws | None = None) -> Drawn:
        return _one_of(self.levels(noise), noise, x, generator)


@dataclass(frozen=True)
class EvenLevels(Times):
    """L noise levels in equal steps from the noise's largest σ/α down to ``floor``, each equally often.

    The foil of `Levels`: nearly all of its levels lie where the noise has drowned the data, few where detail forms.
    ``count`` is L. Raises: RangeError for count < 2.

    >>> from scorefield.noises import EDM
    >>> [round(float(r), 3) for r in EvenLevels(3, floor=0.01).levels(EDM(1.0))]
    [1.0, 0.505, 0.01]
    """

    count: int = 20
    floor: float = 1e-2

    def __post_init__(self):
        if self.count < 2:
            raise RangeError(f"EvenLevels(count={self.count}): at least 2 noise levels make a ladder.")

    def levels(self, noise: Gaussian) -> Float[Tensor, "count"]:
        """The σ/α of every level, descending."""
        return torch.linspace(_top(noise, self, self.floor), self.floor, self.count, dtype=torch.float64)

    def __call__(self, noise: Gaussian, x: Values, generator: Draws | None = None) -> Drawn:
        return _one_of(self.levels(noise), noise, x, generator)


def _one_of(levels: Float[Tensor, "count"], noise: Gaussian, x: Values, generator: Draws | None) -> Drawn:
    k = (_even(x, generator) * len(levels)).long().clamp(max=len(levels) - 1)
    return noise.time(levels).to(x.device)[k], torch.ones(len(x), dtype=torch.float64, device=x.device)
