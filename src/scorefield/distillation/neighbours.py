"""Which two noise levels a consistency loss compares: (noise, x, generator) -> (t, s, weight), one of each per example.

Neighbours    t_n and t_{n+1} of a grid, n uniform or with given probabilities Song et al. 2023, eq. 7, arXiv:2303.01469
lognormal     the probabilities that follow log σ/α ~ N(mean, std²)                  Song & Dhariwal 2024, section 3.5, arXiv:2310.14189
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import RangeError
from ..noises import Gaussian
from ..tensors import Draws, uniform

Pair = tuple[Float[Tensor, "batch"], Float[Tensor, "batch"]]


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Neighbouring times t > s of a descending grid, each interval as probable as ``probabilities`` says (None: all alike).

    The grid may be any of `scorefield.grids`; the more intervals, the nearer is distillation to the flow, and the slower.
    Raises: RangeError for a grid that does not descend to 0, or for probabilities that are not one positive number per interval.

    >>> t, s = Neighbours(torch.tensor([1.0, 0.5, 0.0]))(torch.ones(9, 2))
    >>> bool((t - s == 0.5).all())
    True
    """

    times: Float[Tensor, "times"]
    probabilities: Float[Tensor, "intervals"] | None = None

    def __post_init__(self):
        require_grid("Neighbours", self.times)
        p = self.probabilities
        if p is not None and (len(p) != len(self.times) - 1 or not bool((p >= 0).all()) or not float(p.sum()) > 0):
            raise RangeError(
                f"Neighbours(probabilities={p.tolist()[:8]}): one number per interval is wanted, "
                f"{len(self.times) - 1} of them, none negative, not all zero."
            )

    def interval(self, x: Float[Tensor, "batch *event"], generator: Draws | None = None) -> Int[Tensor, "batch"]:
        """n for each row, the number of its interval, counted from the noise end."""
        p = torch.ones(len(self.times) - 1) if self.probabilities is None else self.probabilities
        edges = (p.double().cumsum(0) / p.double().sum())[:-1].to(x.device)
        return torch.bucketize(uniform(x.new_empty(len(x), dtype=torch.float64), generator), edges, right=True)

    def __call__(self, x: Float[Tensor, "batch *event"], generator: Draws | None = None) -> Pair:
        """(t, s), in float64."""
        n, times = self.interval(x, generator), self.times.double().to(x.device)
        return times[n], times[n + 1]


def lognormal(
    noise: Gaussian, times: Float[Tensor, "times"], *, mean: float = -1.1, std: float = 2.0
) -> Float[Tensor, "intervals"]:
    """P(log σ_s/α_s < N(mean, std²) < log σ_t/α_t) for every interval: effort where improved consistency training wants it.

    Song & Dhariwal (2024), section 3.5, arXiv:2310.14189. Raises: RangeError for std ≤ 0.

    >>> from scorefield.noises import EDM
    >>> p = lognormal(EDM(80.0), torch.tensor([1.0, 1 / 80, 0.0]), mean=0.0)
    >>> [round(float(each), 3) for each in p]
    [0.486, 0.5]
    """
    if not std > 0:
        raise RangeError(f"lognormal(std={std:g}): std must be positive; the paper's value is 2.")
    below = torch.special.ndtr((noise.ratio(times.double()).log() - mean) / std)
    return -below.diff()


def require_grid(who: str, times: Float[Tensor, "times"]) -> None:
    """Raises RangeError unless the times descend to 0, which is where a clean image is.

    >>> require_grid("Neighbours", torch.tensor([1.0, 0.0]))
    """
    if len(times) < 2 or not bool((times.diff() < 0).all()) or float(times[-1]) != 0 or float(times[0]) > 1:
        raise RangeError(
            f"{who}(times={[round(v, 4) for v in times.tolist()[:8]]}): times must descend from at most 1 to 0; "
            "use one of scorefield.grids."
        )
