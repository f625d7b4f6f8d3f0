"""A number and its uncertainty: θ̂ ± se(θ̂), one standard error.

The mean of n independent values has se = s/√n, with s² = Σ(v_i − v̄)²/(n − 1).
"""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ..errors import DataError


@dataclass(frozen=True)
class Estimate:
    """θ̂ ± one standard error, printed to the digits that the error allows.

    >>> print(Estimate(0.01234, 0.00041))
    0.0123 ± 0.0004
    >>> float(Estimate(2.0, 0.1))
    2.0
    """

    value: float
    error: float

    def __float__(self) -> float:
        return float(self.value)

    def __str__(self) -> str:
        if not (math.isfinite(self.error) and self.error > 0):
            return f"{self.value:.4g} ± {self.error:.1g}"
        digits = max(0, -math.floor(math.log10(float(f"{self.error:.0e}"))))
        return f"{self.value:.{digits}f} ± {self.error:.{digits}f}"


def mean(values: Float[Tensor, "n"]) -> Estimate:
    """v̄ ± s/√n, the mean of n ≥ 2 independent values.

    Raises: DataError for fewer than two values, of which no standard error can be had.

    >>> import torch
    >>> print(mean(torch.tensor([1.0, 2.0, 3.0])))
    2.0 ± 0.6
    """
    if len(values) < 2:
        raise DataError(f"mean of {len(values)} values: at least 2 are needed for a standard error.")
    values = values.detach().double()
    return Estimate(float(values.mean()), float(values.std()) / math.sqrt(len(values)))
