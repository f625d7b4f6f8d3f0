"""Derivatives from differences: ⟨v, f(exp_x(hv)) − f(exp_x(−hv))⟩ / 2h = ⟨v, Df v⟩ + O(h²).

Rounding adds about ε|f|/h and truncation about h²|f'''|: at unit scale their sum is least near h = ε^{1/3}, ε the precision
of the dtype, so 5e-3 in single and 6e-6 in double precision. A row of larger numbers takes a step as much larger.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import RangeError
from ..spaces import Euclidean, Space
from ..tensors import Draws, expand, sum_event
from .base import Divergence, Field, Numbers, Values
from .probes import independent


@dataclass(frozen=True)
class Difference(Divergence):
    """Central differences along random tangent directions: no derivative of f is taken, error O(h²) beside the probes' own.

    Finite-difference score matching (Pang et al. 2020, arXiv:2007.03317). ``step`` is h, in units of x, for probes of length √d;
    by default ε^{1/3} max(1, root mean square of the row), ε of the dtype. Raises: RangeError for probes < 1 or step ≤ 0.

    >>> value, div = Difference()(lambda x: -2 * x, torch.ones(1, 3, dtype=torch.float64))
    >>> round(float(div), 6)
    -6.0
    """

    step: float | None = None
    probes: int = 1
    space: Space = field(default_factory=Euclidean)

    def __post_init__(self):
        if self.probes < 1:
            raise RangeError(f"Difference(probes={self.probes}): probes must be at least 1.")
        if self.step is not None and not self.step > 0:
            raise RangeError(
                f"Difference(step={self.step:g}): step must be positive; leave it out for one that suits the dtype."
            )

    def __call__(self, f: Field, x: Values, generator: Draws | None = None) -> tuple[Values, Numbers]:
        h = self.steps(x)
        total = x.new_zeros(len(x))
        for v in independent(x, self.probes, generator):
            v = self.space.tangent(x, v)
            move = expand(h, x) * v
            total = total + sum_event(v * (f(self.space.exp(x, move)) - f(self.space.exp(x, -move))))
        return f(x), total / (2 * h * self.probes)

    def steps(self, x: Values) -> Float[Tensor, "batch"]:
        """h of every row of x."""
        if self.step is not None:
            return torch.full_like(x[:, ...].flatten(1)[:, 0], self.step)
        size = x.detach().flatten(1).square().mean(1).sqrt().clamp(min=1)
        return torch.finfo(x.dtype).eps ** (1 / 3) * size
